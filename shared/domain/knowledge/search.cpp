#include "shared/domain/knowledge/search.hpp"

#include <algorithm>

#include "shared/domain/knowledge/files.hpp"
#include "shared/domain/knowledge/fusion.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

const Statement k_version{"search_version",
                          "SELECT version FROM index_versions WHERE tenant_id = $1"};
const Statement k_visible{
    "search_visible",
    "SELECT id, generation, chunk_count FROM files WHERE tenant_id = $1 AND generation > 0"};
const Statement k_generation{"search_generation",
                             "SELECT file_id, generation, chunks FROM documents_of_generation($1)"};
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
// The vectors of the same documents, as they are stored.
const Statement k_vectors{"search_vectors", R"sql(
SELECT v.file_id, v.chunk_index, halfvec_send(v.embedding)
  FROM unnest($1::uuid[], $2::bigint[]) AS w (file_id, generation)
  JOIN files f ON f.id = w.file_id
  JOIN chunk_vectors v ON v.file_id = f.id AND v.generation = coalesce(nullif(w.generation, 0), f.generation)
 ORDER BY v.file_id, v.chunk_index)sql"};

constexpr std::int64_t k_chunks_per_load = 2000;

Bm25Index::FileFilter accepted_by(const std::optional<std::set<base::FileId>>& files) {
    if (!files) return {};
    return [&files](const base::FileId& file) { return files->contains(file); };
}

/// Calls add(first row, one behind the last) for each file; rows come sorted by file.
template <class Add>
Result<void> by_file(const postgres::Rows& rows, Add add) {
    for (std::size_t first = 0, r = 0; r < rows.size(); ++r) {
        const bool last = r + 1 == rows.size() ||
                          rows[r + 1].get<base::FileId>(0) != rows[first].get<base::FileId>(0);
        if (!last) continue;
        TRY_VOID(add(first, r + 1));
        first = r + 1;
    }
    return {};
}

Result<void> add_terms(const postgres::Rows& rows, Bm25Index& index) {
    return by_file(rows, [&](std::size_t first, std::size_t end) -> Result<void> {
        std::vector<Bm25Index::Chunk> chunks;
        for (auto r = first; r < end; ++r) {
            TRY(auto terms, decode_terms(rows[r].get<std::string_view>(2)));
            chunks.push_back({rows[r].get<std::int32_t>(1), std::move(terms)});
        }
        index.add_document(rows[first].get<base::FileId>(0), chunks);
        return {};
    });
}

Result<void> add_vectors(const postgres::Rows& rows, VectorIndex& index) {
    return by_file(rows, [&](std::size_t first, std::size_t end) -> Result<void> {
        std::vector<VectorIndex::Chunk> chunks;
        for (auto r = first; r < end; ++r)
            chunks.push_back({rows[r].get<std::int32_t>(1), rows[r].get<std::string_view>(2)});
        index.add_document(rows[first].get<base::FileId>(0), chunks);
        return {};
    });
}

}  // namespace

struct Searcher::Tenant {
    Tenant(Executor executor, bool live) : live(live), loaded(std::move(executor)) {}

    std::shared_ptr<Bm25Index> index = std::make_shared<Bm25Index>();
    std::optional<VectorIndex> vectors;  ///< of the same documents, once a question needed it
    Versions files;                      ///< what the index holds
    std::int64_t version = -1, chunks = 0;
    bool live;  ///< else a generation that questions name
    bool loading = false;
    async::Event loaded;

    [[nodiscard]] std::size_t memory() const noexcept {
        return index->memory() + (vectors ? vectors->memory() : 0);
    }
};

Searcher::Versions Searcher::versions_of(const postgres::Rows& rows) {
    Versions out;
    for (std::size_t r = 0; r < rows.size(); ++r)
        out.emplace(rows[r].get<base::FileId>(0),
                    Version{rows[r].get<std::int64_t>(1), rows[r].get<std::int32_t>(2)});
    return out;
}

/// As statements take them: generation 0 where the live one is meant.
struct Searcher::Wanted {
    std::vector<base::Uuid> files;
    std::vector<std::int64_t> generations;
    Wanted(const Versions& versions, bool live) {
        for (const auto& [file, version] : versions) {
            files.push_back(file.uuid);
            generations.push_back(live ? 0 : version.generation);
        }
    }
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

Searcher::Searcher(Executor executor, postgres::Database& app, providers::vector::Store& vectors,
                   SearchOptions options)
    : executor_(std::move(executor)), app_(app), vectors_(vectors), options_(options) {}

Searcher::~Searcher() = default;

Task<Result<Searcher::Found>> Searcher::search(SearchQuery query, Deadline deadline) {
    CO_TRY(const auto scope, co_await this->scope(query, deadline));
    std::vector<Retrieved> by_meaning;
    if (!query.vector.empty()) {
        CO_TRY(by_meaning, co_await dense(query, scope, deadline));
    }
    const auto by_words = scope.tenant->index->top_k(
        query_terms(query.question),
        by_meaning.empty() ? query.limit : std::max(query.limit, options_.candidates),
        accepted_by(scope.files));
    std::vector<Retrieved> ranked = by_words;
    if (!by_meaning.empty()) {
        const std::vector<RankedList> lists = {{by_words, options_.words_weight},
                                               {by_meaning, options_.dense_weight}};
        ranked = fuse(lists, query.limit);
    }
    CO_TRY(auto hits, co_await texts(query.tenant, *scope.tenant, std::move(ranked), deadline));
    co_return Found{std::move(hits), scope.tenant->index};
}

/// The index, as new as the database says it must be, and the documents of the filter. One load at
/// a time per tenant.
Task<Result<Searcher::Scope>> Searcher::scope(const SearchQuery& query, Deadline deadline) {
    const auto id = query.tenant;
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(query.index_generation ? postgres::call(k_generation, *query.index_generation)
                                           : postgres::call(k_version, id));
    if (!query.filter.empty()) {
        std::vector<base::Uuid> files;
        for (const auto& file : query.filter.files) files.push_back(file.uuid);
        calls.push_back(postgres::call(k_filter, id, files, query.filter.tags, query.filter.types));
    }
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    Scope scope{.tenant = tenant_of(query), .files = {}};
    if (!query.filter.empty()) {
        auto& files = scope.files.emplace();
        for (std::size_t r = 0; r < results[2].size(); ++r)
            files.insert(results[2][r].get<base::FileId>(0));
    }
    if (query.index_generation) {
        CO_TRY_VOID(co_await wait_idle(*scope.tenant, deadline));
        const Loading loading(*scope.tenant);
        CO_TRY_VOID(co_await take(id, *scope.tenant, versions_of(results[1]), deadline));
    }
    const auto version =
        query.index_generation || results[1].empty() ? 0 : results[1][0].get<std::int64_t>(0);
    while (scope.tenant->live && scope.tenant->version < version) {
        CO_TRY_VOID(co_await wait_idle(*scope.tenant, deadline));
        if (scope.tenant->version >= version) break;
        const Loading loading(*scope.tenant);
        CO_TRY_VOID(co_await refresh(id, *scope.tenant, version, deadline));
    }
    forget_surplus();
    co_return scope;
}

std::shared_ptr<Searcher::Tenant> Searcher::tenant_of(const SearchQuery& query) {
    const Key key{query.tenant, query.index_generation};
    auto& slot = tenants_[key];
    if (!slot) slot = std::make_shared<Tenant>(executor_, !query.index_generation);
    used_.remove(key);
    used_.push_front(key);
    return slot;
}

/// Until nobody loads it.
Task<Result<void>> Searcher::wait_idle(Tenant& tenant, Deadline deadline) {
    while (tenant.loading) {
        if (!co_await tenant.loaded.wait(deadline))
            co_return fail(ErrorCode::timeout, "the search index could not be loaded in time");
    }
    co_return Result<void>{};
}

/// `version` was read before the list of files, so the index may be newer than it says, never
/// older.
Task<Result<void>> Searcher::refresh(base::TenantId id, Tenant& tenant, std::int64_t version,
                                     Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app_, id, postgres::call(k_visible, id), deadline));
    CO_TRY_VOID(co_await take(id, tenant, versions_of(results), deadline));
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
    if (tenant.vectors) tenant.vectors->remove_documents(gone);
    for (const auto& file : gone) tenant.files.erase(file);

    Versions batch;
    std::int64_t chunks = 0, total = 0;
    for (const auto& [file, version] : wanted) {
        total += version.chunks;
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
    tenant.chunks = total;
    co_return Result<void>{};
}

Task<Result<void>> Searcher::load(base::TenantId id, Tenant& tenant, const Versions& files,
                                  Deadline deadline) {
    const Wanted wanted(files, tenant.live);
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(id));
    calls.push_back(postgres::call(k_terms, wanted.files, wanted.generations));
    if (tenant.vectors)
        calls.push_back(postgres::call(k_vectors, wanted.files, wanted.generations));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    CO_TRY_VOID(add_terms(results[1], *tenant.index));
    if (tenant.vectors) CO_TRY_VOID(add_vectors(results[2], *tenant.vectors));
    for (const auto& [file, version] : files) tenant.files[file] = version;
    co_return Result<void>{};
}

/// All vectors of the tenant's documents, where the index does not hold them yet.
Task<Result<void>> Searcher::load_vectors(base::TenantId id, Tenant& tenant, std::size_t dimensions,
                                          Deadline deadline) {
    VectorIndex index(dimensions);
    for (auto at = tenant.files.begin(); at != tenant.files.end();) {
        Versions batch;
        for (std::int64_t chunks = 0; at != tenant.files.end() && chunks < k_chunks_per_load;
             ++at) {
            batch.insert(*at);
            chunks += 1 + at->second.chunks;
        }
        const Wanted wanted(batch, tenant.live);
        CO_TRY(
            const auto rows,
            co_await postgres::in_tenant(
                app_, id, postgres::call(k_vectors, wanted.files, wanted.generations), deadline));
        CO_TRY_VOID(add_vectors(rows, index));
    }
    tenant.vectors = std::move(index);
    co_return Result<void>{};
}

/// By meaning. A store elsewhere may be away: words alone will do then.
Task<Result<std::vector<Retrieved>>> Searcher::dense(const SearchQuery& query, const Scope& scope,
                                                     Deadline deadline) {
    auto found = co_await nearest(query, scope, deadline);
    if (!found && vectors_.external()) {
        telemetry::log::warning("vector store failed", {{"why", found.error().log}});
        co_return std::vector<Retrieved>{};
    }
    co_return found;
}

Task<Result<std::vector<Retrieved>>> Searcher::nearest(const SearchQuery& query, const Scope& scope,
                                                       Deadline deadline) {
    auto& tenant = *scope.tenant;
    const auto vector = providers::vector::normalized(query.vector);
    providers::vector::Searched searched{.files = {},
                                         .all = !scope.files,
                                         .live = tenant.live,
                                         .chunks = scope.files ? 0 : tenant.chunks,
                                         .of_all = tenant.chunks};
    if (scope.files || vectors_.external()) {
        for (const auto& [file, version] : tenant.files) {
            if (scope.files && !scope.files->contains(file)) continue;
            if (scope.files) searched.chunks += version.chunks;
            searched.files.emplace(file, version.generation);
        }
    }
    CO_TRY(const auto matches, co_await vectors_.query(query.tenant, vector, options_.candidates,
                                                       std::move(searched), deadline));
    if (matches) {
        std::vector<Retrieved> out;
        for (const auto& match : *matches)
            out.push_back({match.file, match.chunk_index, match.similarity, 0});
        co_return out;
    }
    const auto held = [&] {
        return tenant.vectors && tenant.vectors->dimensions() == vector.size();
    };
    while (!held()) {
        CO_TRY_VOID(co_await wait_idle(tenant, deadline));
        if (held()) break;
        const Loading loading(tenant);
        CO_TRY_VOID(co_await load_vectors(query.tenant, tenant, vector.size(), deadline));
    }
    co_return tenant.vectors->top_k(vector, options_.candidates, accepted_by(scope.files));
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
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, id, postgres::call(k_texts, files, generations, indexes, places), deadline));
    for (std::size_t r = 0; r < results.size(); ++r) {
        const auto row = results[r];
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
        memory += found->second->memory();
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
