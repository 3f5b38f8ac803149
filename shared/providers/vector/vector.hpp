#pragma once
// Dense vectors of chunks behind one port. A chunk is named by (file, chunk generation, index);
// what is live is known to PostgreSQL alone, and is said with every query.

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"
#include "shared/base/uuid.hpp"
#include "shared/config/groups.hpp"
#include "shared/http_client/http_client.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::providers::vector {

struct Record {
    std::int32_t chunk_index = 0;
    std::vector<float> values;  ///< of length 1
};

struct Match {
    base::FileId file;
    std::int64_t generation = 0;
    std::int32_t chunk_index = 0;
    double similarity = 0;  ///< the cosine
};

/// The documents that may be found.
struct Searched {
    std::map<base::FileId, std::int64_t> files;  ///< with the generation of their chunks
    bool all = true;                             ///< they are all that the tenant has
    bool live = true;                            ///< the generations are the live ones
    std::int64_t chunks = 0;                     ///< of these files
    std::int64_t of_all = 0;                     ///< chunks of all files of the tenant
};

class Store {
 public:
    virtual ~Store() = default;
    /// Invisible until the generation is live. Again = replaced. `not_found`: the chunks are gone.
    virtual Task<Result<void>> upsert(base::TenantId tenant, base::FileId file,
                                      std::int64_t generation, std::vector<Record> records,
                                      Deadline deadline) = 0;
    /// One generation of a file. What is not there is removed already.
    virtual Task<Result<void>> remove(base::TenantId tenant, base::FileId file,
                                      std::int64_t generation, Deadline deadline) = 0;
    /// The `limit` nearest of what is searched, best first; `vector` is of length 1. `files` may be
    /// empty for a store that is not external when all live ones are meant. Nullopt: this store
    /// leaves the tenant to whoever compares its vectors in memory. Errors as of a language model.
    virtual Task<Result<std::optional<std::vector<Match>>>> query(base::TenantId tenant,
                                                                  std::vector<float> vector,
                                                                  std::size_t limit,
                                                                  Searched searched,
                                                                  Deadline deadline) = 0;
    /// False: vectors are rows of chunk_vectors, and go with their chunks.
    [[nodiscard]] virtual bool external() const noexcept = 0;
};

struct PgVectorOptions {
    std::int64_t index_above = 50'000;  ///< chunks of a tenant whose index is looked for
};
/// Rows of chunk_vectors; `app` outlives the store.
std::unique_ptr<Store> make_pgvector(postgres::Database& app, PgVectorOptions options = {});

struct PineconeOptions {
    std::string base_url;  ///< of the index: https://NAME-PROJECT.svc.REGION.pinecone.io
    std::string key;
};
/// A tenant is a namespace. `app` keeps the account of what was sent there; both outlive the store.
std::unique_ptr<Store> make_pinecone(http_client::Client& http, postgres::Database& app,
                                     PineconeOptions options);

/// The configured store.
std::unique_ptr<Store> make_store(http_client::Client& http, postgres::Database& app,
                                  const config::Vectors& config);

/// Removes from an external store what has no chunks any more, of all tenants. How many generations
/// that were.
Task<Result<std::size_t>> sweep(Store& store, postgres::Database& app, Deadline deadline);

/// "[0.5,-1]", as JSON and pgvector write them.
[[nodiscard]] std::string to_text(const std::vector<float>& vector);
/// Scaled to length 1; what has no direction stays 0.
[[nodiscard]] std::vector<float> normalized(std::vector<float> vector);

}  // namespace millrace::providers::vector
