#include "shared/domain/knowledge/search.hpp"

#include <algorithm>

#include "shared/domain/knowledge/files.hpp"
#include "shared/domain/knowledge/fusion.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

const Statement k_version{"search_version",
                          "SELECT version FROM index_versions WHERE tenant_id = $1"};
const Statement k_visible{
    "search_visible", "SELECT id, generation FROM files WHERE tenant_id = $1 AND generation > 0"};
const Statement k_terms{"search_terms", R"sql(
SELECT c.file_id, c.chunk_index, c.terms
  FROM chunks c JOIN files f ON f.id = c.file_id AND f.generation = c.generation
 WHERE c.file_id = ANY ($1::uuid[]) ORDER BY c.file_id, c.chunk_index)sql"};
const Statement k_texts{"search_texts", R"sql(
SELECT w.place, c.text, c.page_first, c.page_last, f.file_name, f.title
  FROM unnest($1::uuid[], $2::int[], $3::int[]) AS w (file_id, chunk_index, place)
  JOIN files f ON f.id = w.file_id
  JOIN chunks c ON c.file_id = w.file_id AND c.generation = f.generation AND c.chunk_index = w.chunk_index)sql"};
// Exact: no neighbour of another tenant can push a chunk out.
const Statement k_dense{"search_dense", R"sql(
SELECT c.file_id, c.chunk_index FROM chunks c JOIN files f ON f.id = c.file_id AND f.generation = c.generation
 WHERE c.tenant_id = $1 AND c.embedding IS NOT NULL AND vector_dims(c.embedding) = vector_dims($2::text::vector)
 ORDER BY c.embedding <=> $2::text::vector LIMIT $3)sql"};

constexpr std::size_t k_files_per_load = 200;

}  // namespace

struct Searcher::Tenant {
    explicit Tenant(Executor executor) : loaded(std::move(executor)) {}

    std::shared_ptr<Bm25Index> index = std::make_shared<Bm25Index>();
    std::map<base::FileId, std::int64_t> generations;  ///< what the index holds
    std::int64_t version = -1;
    bool loading = false;
    async::Event loaded;
};

/// Ends also when the task that loads is cancelled: somebody else goes on then.
class Searcher::Loading {
 public:
    explicit Loading(Tenant& tenant) : tenant_(tenant) { tenant_.loading = true; }
    Loading(const Loading&) = delete;
    Loading& operator=(const Loading&) = delete;
    ~Loading() {
        tenant_.loading = false;
        tenant_.loaded.notify_all();
    }

 private:
    Tenant& tenant_;
};

Searcher::Searcher(Executor executor, postgres::Database& app, SearchOptions options)
    : executor_(std::move(executor)), app_(app), options_(options) {}

Searcher::~Searcher() = default;

Task<Result<Searcher::Found>> Searcher::search(base::TenantId tenant, std::string question,
                                               std::vector<float> vector, std::size_t limit,
                                               Deadline deadline) {
    CO_TRY(const auto index, co_await current(tenant, deadline));
    std::vector<Retrieved> by_meaning;
    if (!vector.empty()) {
        CO_TRY(by_meaning, co_await dense(tenant, std::move(vector), deadline));
    }
    const auto by_words = index->index->top_k(
        query_terms(question), by_meaning.empty() ? limit : std::max(limit, options_.candidates));
    std::vector<Retrieved> ranked = by_words;
    if (!by_meaning.empty()) {
        const std::vector<RankedList> lists = {{by_words, 1.0},
                                               {by_meaning, options_.dense_weight}};
        ranked = fuse(lists, limit);
    }
    CO_TRY(auto hits, co_await texts(tenant, std::move(ranked), deadline));
    co_return Found{std::move(hits), index->index};
}

/// The tenant's index, as new as the database says it must be. One load at a time per tenant.
Task<Result<std::shared_ptr<Searcher::Tenant>>> Searcher::current(base::TenantId id,
                                                                  Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_version, id));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    const auto version = results[1].empty() ? 0 : results[1][0].get<std::int64_t>(0);

    auto& slot = tenants_[id];
    if (!slot) slot = std::make_shared<Tenant>(executor_);
    const auto tenant = slot;
    used_.remove(id);
    used_.push_front(id);
    while (tenant->version < version) {
        if (tenant->loading) {
            if (!co_await tenant->loaded.wait(deadline))
                co_return fail(ErrorCode::timeout, "the search index could not be loaded in time");
            continue;
        }
        const Loading loading(*tenant);
        auto done = co_await refresh(id, *tenant, version, deadline);
        if (!done) co_return std::unexpected(std::move(done).error());
    }
    forget_surplus();
    co_return tenant;
}

/// `version` was read before the list of files, so the index may be newer than it says, never
/// older.
Task<Result<void>> Searcher::refresh(base::TenantId id, Tenant& tenant, std::int64_t version,
                                     Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_visible, id));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    std::map<base::FileId, std::int64_t> visible;
    for (std::size_t r = 0; r < results[1].size(); ++r) {
        visible.emplace(results[1][r].get<base::FileId>(0), results[1][r].get<std::int64_t>(1));
    }
    std::vector<base::FileId> gone;
    for (const auto& [file, generation] : tenant.generations) {
        if (!visible.contains(file)) gone.push_back(file);
    }
    tenant.index->remove_documents(gone);
    for (const auto& file : gone) tenant.generations.erase(file);

    std::vector<base::Uuid> wanted;
    for (const auto& [file, generation] : visible) {
        const auto known = tenant.generations.find(file);
        if (known != tenant.generations.end() && known->second == generation) continue;
        wanted.push_back(file.uuid);
        if (wanted.size() == k_files_per_load) {
            CO_TRY_VOID(co_await load(id, tenant, std::exchange(wanted, {}), deadline));
        }
    }
    if (!wanted.empty()) {
        CO_TRY_VOID(co_await load(id, tenant, std::move(wanted), deadline));
    }
    tenant.generations = std::move(visible);
    tenant.version = version;
    co_return Result<void>{};
}

Task<Result<void>> Searcher::load(base::TenantId id, Tenant& tenant, std::vector<base::Uuid> files,
                                  Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_terms, files));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    std::vector<Bm25Index::Chunk> chunks;
    const auto& rows = results[1];
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto file = rows[r].get<base::FileId>(0);
        CO_TRY(auto terms, decode_terms(rows[r].get<std::string_view>(2)));
        chunks.push_back({rows[r].get<std::int32_t>(1), std::move(terms)});
        const bool last = r + 1 == rows.size() || rows[r + 1].get<base::FileId>(0) != file;
        if (!last) continue;
        tenant.index->add_document(file, chunks);
        chunks.clear();
    }
    co_return Result<void>{};
}

Task<Result<std::vector<Retrieved>>> Searcher::dense(base::TenantId tenant,
                                                     std::vector<float> vector, Deadline deadline) {
    const auto text = json::dump(json::Array(vector.begin(), vector.end()));
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(
        postgres::call(k_dense, tenant, text, static_cast<std::int64_t>(options_.candidates)));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    std::vector<Retrieved> out;
    for (std::size_t r = 0; r < results[1].size(); ++r) {
        out.push_back(
            {results[1][r].get<base::FileId>(0), results[1][r].get<std::int32_t>(1), 0, 0});
    }
    co_return out;
}

Task<Result<std::vector<Hit>>> Searcher::texts(base::TenantId tenant, std::vector<Retrieved> ranked,
                                               Deadline deadline) {
    std::vector<Hit> hits(ranked.size());
    if (ranked.empty()) co_return hits;
    std::vector<base::Uuid> files;
    std::vector<std::int32_t> indexes, places;
    for (std::size_t i = 0; i < ranked.size(); ++i) {
        files.push_back(ranked[i].file.uuid);
        indexes.push_back(ranked[i].chunk_index);
        places.push_back(static_cast<std::int32_t>(i));
    }
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_texts, files, indexes, places));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    for (std::size_t r = 0; r < results[1].size(); ++r) {
        const auto row = results[1][r];
        const auto place = static_cast<std::size_t>(row.get<std::int32_t>(0));
        hits[place] = {.file = ranked[place].file,
                       .chunk_index = ranked[place].chunk_index,
                       .file_name = row.get<std::string>(4),
                       .title = row.get<std::string>(5),
                       .text = row.get<std::string>(1),
                       .page_first = row.get<std::int32_t>(2),
                       .page_last = row.get<std::int32_t>(3),
                       .score = ranked[place].score,
                       .coverage = ranked[place].coverage};
    }
    std::erase_if(
        hits, [](const Hit& hit) { return hit.text.empty(); });  // deleted since the index was read
    co_return hits;
}

void Searcher::forget_surplus() {
    std::size_t memory = 0, kept = 0;
    for (auto it = used_.begin(); it != used_.end();) {
        const auto found = tenants_.find(*it);
        memory += found->second->index->memory();
        const bool surplus = kept > 0 &&
                             (kept >= options_.tenants_max || memory > options_.memory_bytes_max) &&
                             !found->second->loading;
        if (surplus) {
            tenants_.erase(found);
            it = used_.erase(it);
        } else {
            ++kept;
            ++it;
        }
    }
}

}  // namespace millrace::domain::knowledge
