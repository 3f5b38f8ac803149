#pragma once
// A tenant's chunks, searched: BM25, and dense vectors where there are any, both fused by rank.
// The indexes are in memory and follow the database by version; where the vector store has an
// index of its own, that is asked. The rag worker and the operators' tool rank with this same code.

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shared/async/event.hpp"
#include "shared/domain/knowledge/bm25.hpp"
#include "shared/domain/knowledge/vector_index.hpp"
#include "shared/postgres/postgres.hpp"
#include "shared/providers/vector/vector.hpp"

namespace millrace::domain::knowledge {

/// A chunk that was found, with what an answer needs to quote it.
struct Hit {
    base::FileId file;
    std::int32_t chunk_index = 0;
    std::string file_name, title, text;
    std::int32_t page_first = 1, page_last = 1;
    double score = 0, coverage = 0;
};

/// Which documents may be found: in each list any of its values, in all lists that are not empty.
struct SearchFilter {
    std::vector<base::FileId> files;
    std::vector<std::string> tags, types;
    [[nodiscard]] bool empty() const noexcept {
        return files.empty() && tags.empty() && types.empty();
    }
};

struct SearchQuery {
    base::TenantId tenant;
    std::string question;
    std::vector<float> vector;  ///< the question's embedding; empty: by words alone
    std::size_t limit = 5;
    SearchFilter filter;
    std::optional<base::Uuid> index_generation;  ///< searched instead of what is live
};

struct SearchOptions {
    std::size_t tenants_max = 256;  ///< indexes kept in memory; the one used longest ago goes first
    std::size_t memory_bytes_max = 1ULL << 30;  ///< of all indexes together
    std::size_t candidates = 50;                ///< of each retriever, before fusion
    double words_weight = 1.0, dense_weight = 1.0;
};

class Searcher {
 public:
    /// `app` and `vectors` outlive the searcher.
    Searcher(Executor executor, postgres::Database& app, providers::vector::Store& vectors,
             SearchOptions options = {});
    ~Searcher();

    struct Found {
        std::vector<Hit> hits;                   ///< best first
        std::shared_ptr<const Bm25Index> index;  ///< what they were ranked by
    };
    /// The `limit` best chunks of the tenant's visible documents that the filter lets through. The
    /// caller may not hold `index` across a suspension.
    Task<Result<Found>> search(SearchQuery query, Deadline deadline);

    [[nodiscard]] std::size_t tenants() const noexcept { return tenants_.size(); }

 private:
    struct Version {
        std::int64_t generation = 0;  ///< of the document's chunks
        std::int32_t chunks = 0;
    };
    using Versions = std::map<base::FileId, Version>;
    static Versions versions_of(const postgres::Rows& rows);
    struct Tenant;
    struct Wanted;
    class Loading;
    /// What one question is answered from.
    struct Scope {
        std::shared_ptr<Tenant> tenant;
        std::optional<std::set<base::FileId>> files;  ///< those that the filter lets through
    };
    Task<Result<Scope>> scope(const SearchQuery& query, Deadline deadline);
    std::shared_ptr<Tenant> tenant_of(const SearchQuery& query);
    Task<Result<void>> wait_idle(Tenant& tenant, Deadline deadline);
    Task<Result<void>> refresh(base::TenantId id, Tenant& tenant, std::int64_t version,
                               Deadline deadline);
    Task<Result<void>> take(base::TenantId id, Tenant& tenant, Versions wanted, Deadline deadline);
    Task<Result<void>> load(base::TenantId id, Tenant& tenant, const Versions& files,
                            Deadline deadline);
    Task<Result<void>> load_vectors(base::TenantId id, Tenant& tenant, std::size_t dimensions,
                                    Deadline deadline);
    Task<Result<std::vector<Retrieved>>> dense(const SearchQuery& query, const Scope& scope,
                                               Deadline deadline);
    Task<Result<std::vector<Retrieved>>> nearest(const SearchQuery& query, const Scope& scope,
                                                 Deadline deadline);
    Task<Result<std::vector<Hit>>> texts(base::TenantId id, const Tenant& tenant,
                                         std::vector<Retrieved> ranked, Deadline deadline);
    void forget_surplus();

    Executor executor_;
    postgres::Database& app_;
    providers::vector::Store& vectors_;
    SearchOptions options_;
    using Key = std::pair<base::TenantId, std::optional<base::Uuid>>;
    std::map<Key, std::shared_ptr<Tenant>>
        tenants_;          ///< what is live, and generations being judged
    std::list<Key> used_;  ///< latest first
};

}  // namespace millrace::domain::knowledge
