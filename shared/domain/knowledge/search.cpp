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
    "search_visible",
    "SELECT id, generation, chunk_count FROM files WHERE tenant_id = $1 AND generation > 0"};
const Statement k_filter{"search_filter", R"sql(
SELECT id FROM files
 WHERE tenant_id = $1 AND (cardinality($2::uuid[]) = 0 OR id = ANY ($2)) AND (cardinality($3::text[]) = 0 OR tags && $3)
   AND (cardinality($4::text[]) = 0 OR file_type = ANY ($4)))sql"};
// Generation 0: the one that is live now. It may be a newer one than the list of files said.
const Statement k_terms{"search_terms", R"sql(
SELECT c.file_id, c.chunk_index, c.terms
  FROM unnest($1::uuid[], $2::bigint[]) AS w (file_id, generation)
  JOIN files f ON f.id = w.file_id
  JOIN chunks c ON c.file_id = f.id AND c.generation = coalesce(nullif(w.generation, 0), f.generation)
 ORDER BY c.file_id, c.chunk_index)sql"};
const Statement k_texts{"search_texts", R"sql(
SELECT w.place, c.text, c.page_first, c.page_last, f.file_name, f.title
  FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[]) AS w (file_id, generation, chunk_index, place)
  JOIN files f ON f.id = w.file_id
  JOIN chunks c ON c.file_id = w.file_id AND c.generation = coalesce(nullif(w.generation, 0), f.generation)
               AND c.chunk_index = w.chunk_index)sql"};
// Exact: no neighbour of another tenant can push a chunk out.
const Statement k_dense{"search_dense", R"sql(
SELECT c.file_id, c.chunk_index FROM chunks c JOIN files f ON f.id = c.file_id AND f.generation = c.generation
 WHERE c.tenant_id = $1 AND c.embedding IS NOT NULL AND vector_dims(c.embedding) = vector_dims($2::text::vector)
   AND ($4 OR c.file_id = ANY ($5::uuid[]))
 ORDER BY c.embedding <=> $2::text::vector LIMIT $3)sql"};

constexpr std::int64_t k_chunks_per_load = 2000;

}  // namespace

struct Searcher::Tenant {
    explicit Tenant(Executor executor) : loaded(std::move(executor)) {}

    std::shared_ptr<Bm25Index> index = std::make_shared<Bm25Index>();
    Versions files;  ///< what the index holds
    std::int64_t version = -1;
    bool live = true;  ///< else a generation that one question asked for
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

Task<Result<Searcher::Found>> Searcher::search(SearchQuery query, Deadline deadline) {
    CO_TRY(const auto scope, co_await this->scope(query, deadline));
    std::vector<Retrieved> by_meaning;
    if (!query.vector.empty()) {
        CO_TRY(by_meaning, co_await dense(query, scope, deadline));
    }
    Bm25Index::FileFilter accept;
    if (scope.files) accept = [&](const base::FileId& file) { return scope.files->contains(file); };
    const auto by_words = scope.tenant->index->top_k(
        query_terms(query.question),
        by_meaning.empty() ? query.limit : std::max(query.limit, options_.candidates), accept);
    std::vector<Retrieved> ranked = by_words;
    if (!by_meaning.empty()) {
        const std::vector<RankedList> lists = {{by_words, 1.0},
                                               {by_meaning, options_.dense_weight}};
        ranked = fuse(lists, query.limit);
    }
    CO_TRY(auto hits, co_await texts(query.tenant, *scope.tenant, std::move(ranked), deadline));
    co_return Found{std::move(hits), scope.tenant->index};
}

/// The tenant's index, as new as the database says it must be, and the documents of the filter. One
/// load at a time per tenant.
Task<Result<Searcher::Scope>> Searcher::scope(const SearchQuery& query, Deadline deadline) {
    const auto id = query.tenant;
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_version, id));
    if (!query.filter.empty()) {
        std::vector<base::Uuid> files;
        for (const auto& file : query.filter.files) files.push_back(file.uuid);
        calls.push_back(postgres::call(k_filter, id, files, query.filter.tags, query.filter.types));
    }
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    const auto version = results[1].empty() ? 0 : results[1][0].get<std::int64_t>(0);
    Scope scope;
    if (!query.filter.empty()) {
        auto& files = scope.files.emplace();
        for (std::size_t r = 0; r < results[2].size(); ++r)
            files.insert(results[2][r].get<base::FileId>(0));
    }

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
    scope.tenant = tenant;
    co_return scope;
}

/// `version` was read before the list of files, so the index may be newer than it says, never
/// older.
Task<Result<void>> Searcher::refresh(base::TenantId id, Tenant& tenant, std::int64_t version,
                                     Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_visible, id));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    Versions visible;
    for (std::size_t r = 0; r < results[1].size(); ++r) {
        const auto row = results[1][r];
        visible.emplace(row.get<base::FileId>(0),
                        Version{row.get<std::int64_t>(1), row.get<std::int32_t>(2)});
    }
    CO_TRY_VOID(co_await take(id, tenant, std::move(visible), deadline));
    tenant.version = version;
    co_return Result<void>{};
}

/// Makes the index hold these documents: only what is new to it is loaded, a few thousand chunks at
/// a time, so that no other question waits long for this thread.
Task<Result<void>> Searcher::take(base::TenantId id, Tenant& tenant, Versions wanted,
                                  Deadline deadline) {
    std::vector<base::FileId> gone;
    for (const auto& [file, version] : tenant.files) {
        if (!wanted.contains(file)) gone.push_back(file);
    }
    tenant.index->remove_documents(gone);
    for (const auto& file : gone) tenant.files.erase(file);

    Versions batch;
    std::int64_t chunks = 0;
    for (const auto& [file, version] : wanted) {
        const auto known = tenant.files.find(file);
        if (known != tenant.files.end() && known->second.generation == version.generation) continue;
        batch.emplace(file, version);
        chunks += 1 + version.chunks;
        if (chunks < k_chunks_per_load) continue;
        CO_TRY_VOID(co_await load(id, tenant, std::exchange(batch, {}), deadline));
        chunks = 0;
    }
    if (!batch.empty()) {
        CO_TRY_VOID(co_await load(id, tenant, batch, deadline));
    }
    tenant.files = std::move(wanted);
    co_return Result<void>{};
}

Task<Result<void>> Searcher::load(base::TenantId id, Tenant& tenant, const Versions& files,
                                  Deadline deadline) {
    std::vector<base::Uuid> ids;
    std::vector<std::int64_t> generations;
    for (const auto& [file, version] : files) {
        ids.push_back(file.uuid);
        generations.push_back(tenant.live ? 0 : version.generation);
    }
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_terms, ids, generations));
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
        tenant.files[file] = files.at(file);
        chunks.clear();
    }
    co_return Result<void>{};
}

Task<Result<std::vector<Retrieved>>> Searcher::dense(const SearchQuery& query, const Scope& scope,
                                                     Deadline deadline) {
    const auto text = json::dump(json::Array(query.vector.begin(), query.vector.end()));
    std::vector<base::Uuid> files;
    if (scope.files) {
        for (const auto& file : *scope.files) files.push_back(file.uuid);
    }
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(query.tenant));
    calls.push_back(postgres::call(k_dense, query.tenant, text,
                                   static_cast<std::int64_t>(options_.candidates), !scope.files,
                                   files));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    std::vector<Retrieved> out;
    for (std::size_t r = 0; r < results[1].size(); ++r) {
        out.push_back(
            {results[1][r].get<base::FileId>(0), results[1][r].get<std::int32_t>(1), 0, 0});
    }
    co_return out;
}

Task<Result<std::vector<Hit>>> Searcher::texts(base::TenantId id, const Tenant& tenant,
                                               std::vector<Retrieved> ranked, Deadline deadline) {
    std::vector<Hit> hits(ranked.size());
    if (ranked.empty()) co_return hits;
    std::vector<base::Uuid> files;
    std::vector<std::int64_t> generations;
    std::vector<std::int32_t> indexes, places;
    for (std::size_t i = 0; i < ranked.size(); ++i) {
        const auto known = tenant.files.find(ranked[i].file);
        files.push_back(ranked[i].file.uuid);
        generations.push_back(
            tenant.live || known == tenant.files.end() ? 0 : known->second.generation);
        indexes.push_back(ranked[i].chunk_index);
        places.push_back(static_cast<std::int32_t>(i));
    }
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_texts, files, generations, indexes, places));
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
