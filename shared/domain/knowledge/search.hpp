#pragma once
// A tenant's chunks, searched: BM25 from an index in memory that follows the database by version,
// dense vectors where there are any, both fused by rank. The rag worker and the operators' tool
// rank with this same code.

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shared/async/event.hpp"
#include "shared/domain/knowledge/bm25.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::knowledge {

/// A chunk that was found, with what an answer needs to quote it.
struct Hit {
    base::FileId file;
    std::int32_t chunk_index = 0;
    std::string file_name, title, text;
    std::int32_t page_first = 1, page_last = 1;
    double score = 0, coverage = 0;
};

struct SearchOptions {
    std::size_t tenants_max = 256;  ///< indexes kept in memory; the one used longest ago goes first
    std::size_t memory_bytes_max = 1ULL << 30;  ///< of all indexes together
    std::size_t candidates = 50;                ///< of each retriever, before fusion
    double dense_weight = 1.0;
};

class Searcher {
 public:
    Searcher(Executor executor, postgres::Database& app, SearchOptions options = {});
    ~Searcher();

    struct Found {
        std::vector<Hit> hits;                   ///< best first
        std::shared_ptr<const Bm25Index> index;  ///< what they were ranked by
    };
    /// The `limit` best chunks of the tenant's visible documents; `vector` is the question's
    /// embedding, empty where there is none. The caller may not hold `index` across a suspension.
    Task<Result<Found>> search(base::TenantId tenant, std::string question,
                               std::vector<float> vector, std::size_t limit, Deadline deadline);

    [[nodiscard]] std::size_t tenants() const noexcept { return tenants_.size(); }

 private:
    struct Tenant;
    class Loading;
    Task<Result<std::shared_ptr<Tenant>>> current(base::TenantId tenant, Deadline deadline);
    Task<Result<void>> refresh(base::TenantId id, Tenant& tenant, std::int64_t version,
                               Deadline deadline);
    Task<Result<void>> load(base::TenantId id, Tenant& tenant, std::vector<base::Uuid> files,
                            Deadline deadline);
    Task<Result<std::vector<Retrieved>>> dense(base::TenantId tenant, std::vector<float> vector,
                                               Deadline deadline);
    Task<Result<std::vector<Hit>>> texts(base::TenantId tenant, std::vector<Retrieved> ranked,
                                         Deadline deadline);
    void forget_surplus();

    Executor executor_;
    postgres::Database& app_;
    SearchOptions options_;
    std::map<base::TenantId, std::shared_ptr<Tenant>> tenants_;
    std::list<base::TenantId> used_;  ///< latest first
};

}  // namespace millrace::domain::knowledge
