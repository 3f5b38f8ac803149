#include "shared/domain/knowledge/files.hpp"

#include "shared/domain/jobs/lifecycle.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

const Statement k_insert{"files_insert", R"sql(
INSERT INTO files (id, tenant_id, uploaded_by, file_name, file_type, title, description, tags, file_size, object_key, sha256, job_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING RETURNING id)sql"};

// While the embedding job speaks for the file, the job's state is the file's: pending until
// somebody works on it.
const Statement k_list{"files_list", R"sql(
SELECT * FROM (
    SELECT f.id, f.file_name, f.file_type, f.title,
           CASE WHEN f.status <> 'pending' THEN f.status
                WHEN j.status = 'running' THEN 'processing'
                WHEN j.status IN ('dead', 'cancelled', 'failed') THEN 'failed'
                ELSE 'pending' END AS status,
           f.file_size, f.created_at, f.description, f.reason, f.tags, f.job_id, f.chunk_count, f.updated_at
      FROM files f LEFT JOIN jobs j ON j.id = f.job_id
     WHERE f.tenant_id = $1 AND ($2::text IS NULL OR f.file_type = $2) AND ($6::uuid IS NULL OR f.job_id = $6)
       AND ($8::uuid IS NULL OR f.id = $8) AND ($9::text IS NULL OR $9 = ANY (f.tags))
       AND ($4::text IS NULL OR strpos(lower(f.file_name || ' ' || f.title || ' ' || coalesce(f.description, '')), lower($4)) > 0)
) shown
 WHERE $3::text IS NULL OR status = $3
 ORDER BY created_at DESC, id DESC OFFSET $5 LIMIT $7)sql"};
const Statement k_remove{"files_remove",
                         "DELETE FROM files WHERE id = $1 AND tenant_id = $2 RETURNING object_key"};
const Statement k_stored{
    "files_stored", "SELECT coalesce(sum(file_size), 0)::bigint FROM files WHERE tenant_id = $1"};
const Statement k_bump{"index_bump", R"sql(
INSERT INTO index_versions (tenant_id, version) VALUES ($1, 1)
ON CONFLICT (tenant_id) DO UPDATE SET version = index_versions.version + 1)sql"};

const Statement k_generation{"chunks_generation", "SELECT nextval('chunk_generation')"};
const Statement k_stage{"chunks_stage", R"sql(
INSERT INTO chunks (tenant_id, file_id, generation, chunk_index, page_first, page_last, text, terms)
SELECT $1, $2, $3, c.chunk_index, c.page_first, c.page_last, c.text, c.terms
  FROM unnest($4::int[], $5::int[], $6::int[], $7::text[], $8::bytea[])
       AS c (chunk_index, page_first, page_last, text, terms)
ON CONFLICT DO NOTHING)sql"};
const Statement k_publish{"files_publish", R"sql(
UPDATE files SET generation = $2, chunk_count = $3, status = 'completed', reason = NULL, updated_at = now()
 WHERE id = $1 AND generation < $2)sql"};
const Statement k_prune{"chunks_prune", R"sql(
DELETE FROM chunks c USING files f WHERE c.file_id = $1 AND f.id = $1 AND c.generation < f.generation
   AND NOT EXISTS (SELECT FROM kept_chunks k WHERE k.file_id = $1 AND k.chunk_generation = c.generation))sql"};
// What it had before stays.
const Statement k_fail{
    "files_fail",
    "UPDATE files SET status = CASE WHEN generation > 0 THEN 'completed' ELSE 'failed' END, "
    "reason = $2, updated_at = now() WHERE id = $1"};
const Statement k_chunks{"files_chunks", R"sql(
SELECT c.chunk_index, c.page_first, c.page_last, c.text FROM files f
  LEFT JOIN chunks c ON c.file_id = f.id AND c.generation = f.generation AND c.chunk_index >= $3
 WHERE f.tenant_id = $1 AND f.id = $2 ORDER BY c.chunk_index LIMIT $4)sql"};
const Statement k_source{
    "files_source",
    "SELECT document_event(f, NULL) FROM files f WHERE f.tenant_id = $1 AND f.id = $2"};
const Statement k_reindex{"files_reindex", R"sql(
UPDATE files SET job_id = $3, status = CASE WHEN generation > 0 THEN status ELSE 'pending' END, reason = NULL, updated_at = now()
 WHERE tenant_id = $1 AND id = $2 RETURNING id)sql"};

File file_of(const postgres::Row& row) {
    return {.id = row.get<FileId>(0),
            .file_name = row.get<std::string>(1),
            .file_type = row.get<std::string>(2),
            .title = row.get<std::string>(3),
            .status = row.get<std::string>(4),
            .file_size = row.get<std::int64_t>(5),
            .created_at = row.get<base::WallTime>(6),
            .updated_at = row.get<base::WallTime>(12),
            .description = row.get<std::optional<std::string>>(7),
            .reason = row.get<std::optional<std::string>>(8),
            .tags = row.get<std::vector<std::string>>(9),
            .job = row.get<base::JobId>(10),
            .chunk_count = row.get<std::int32_t>(11)};
}

}  // namespace

std::string to_json(const DocumentUploaded& event) {
    json::Object out{{"file_id", event.file.str()},
                     {"file_name", event.file_name},
                     {"file_type", event.file_type},
                     {"title", event.title},
                     {"object",
                      {{"key", event.object.key},
                       {"size", event.object.size},
                       {"sha256", event.object.sha256}}}};
    if (event.index_generation) out["index_generation"] = event.index_generation->str();
    return json::dump(out);
}

Result<DocumentUploaded> parse_document_uploaded(std::string_view text) {
    TRY(const auto document, json::parse(text));
    auto in = document.reader();
    DocumentUploaded out{.file = {in.uuid("file_id")},
                         .file_name = in.string("file_name", {1, 1000}),
                         .file_type = in.string("file_type", {1, 10}),
                         .title = in.string("title", {0, 1000}),
                         .object = {},
                         .index_generation = in.optional_uuid("index_generation")};
    auto object = in.object("object");
    out.object = {
        .key = object.string("key", {1, 500}),
        .size = static_cast<std::uint64_t>(object.integer("size", 0, std::int64_t{1} << 40)),
        .sha256 = object.string("sha256", {64, 64})};
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<bool>> Files::create(identity::Principal owner, NewFile file, jobs::NewJob job,
                                 base::Uuid outbox, Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(owner.tenant));
    calls.push_back(postgres::call(k_insert, file.id, owner.tenant, owner.user, file.file_name,
                                   file.file_type, file.title, file.description, file.tags,
                                   static_cast<std::int64_t>(file.object.size), file.object.key,
                                   file.object.sha256, job.id));
    for (auto& call : jobs::insert_jobs(std::span(&job, 1), outbox))
        calls.push_back(std::move(call));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    co_return !results[1].empty();
}

Task<Result<std::vector<File>>> Files::list(TenantId tenant, FileFilter filter, Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant,
               postgres::call(k_list, tenant, filter.file_type, filter.status, filter.search,
                              filter.skip, filter.job, filter.limit, filter.id, filter.tag),
               deadline));
    std::vector<File> files;
    for (std::size_t r = 0; r < results.size(); ++r) files.push_back(file_of(results[r]));
    co_return files;
}

Task<Result<std::optional<File>>> Files::find_by_job(TenantId tenant, base::JobId job,
                                                     Deadline deadline) {
    CO_TRY(auto found, co_await list(tenant, {.limit = 1, .job = job}, deadline));
    if (found.empty()) co_return std::nullopt;
    co_return std::move(found.front());
}

Task<Result<std::optional<File>>> Files::find(TenantId tenant, FileId id, Deadline deadline) {
    CO_TRY(auto found, co_await list(tenant, {.limit = 1, .id = id}, deadline));
    if (found.empty()) co_return std::nullopt;
    co_return std::move(found.front());
}

Task<Result<std::optional<std::vector<StoredChunk>>>> Files::chunks(TenantId tenant, FileId id,
                                                                    std::int64_t first,
                                                                    std::int64_t limit,
                                                                    Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant, postgres::call(k_chunks, tenant, id, first, limit), deadline));
    if (results.empty()) co_return std::nullopt;
    std::vector<StoredChunk> out;
    for (std::size_t r = 0; r < results.size(); ++r) {
        const auto row = results[r];
        if (row.is_null(0)) break;  // the file alone
        out.push_back({row.get<std::int32_t>(0), row.get<std::int32_t>(1), row.get<std::int32_t>(2),
                       row.get<std::string>(3)});
    }
    co_return out;
}

Task<Result<std::optional<jobs::NewJob>>> Files::reindex(TenantId tenant, FileId id,
                                                         jobs::NewJob job, base::Uuid outbox,
                                                         Deadline deadline) {
    CO_TRY(const auto found, co_await postgres::in_tenant(
                                 app_, tenant, postgres::call(k_source, tenant, id), deadline));
    if (found.empty()) co_return std::nullopt;
    job.input = found[0].get<std::string>(0);
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_reindex, tenant, id, job.id));
    for (auto& call : jobs::insert_jobs(std::span(&job, 1), outbox))
        calls.push_back(std::move(call));
    CO_TRY_VOID(co_await app_.transaction(std::move(calls), deadline));
    co_return job;  // deleted meanwhile: the job will say so
}

Task<Result<std::optional<std::string>>> Files::remove(TenantId tenant, FileId id,
                                                       Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_remove, id, tenant));
    calls.push_back(postgres::call(k_bump, tenant));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    if (results[1].empty()) co_return std::optional<std::string>();
    co_return std::optional<std::string>(results[1][0].get<std::string>(0));
}

Task<Result<std::int64_t>> Files::stored_bytes(TenantId tenant, Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_stored, tenant), deadline));
    co_return results[0].get<std::int64_t>(0);
}

Task<Result<std::int64_t>> Files::next_generation(Deadline deadline) {
    CO_TRY(const auto rows, co_await app_.run(postgres::call(k_generation), deadline));
    co_return rows[0].get<std::int64_t>(0);
}

Task<Result<void>> Files::stage(TenantId tenant, FileId file, std::int64_t generation,
                                std::vector<StagedChunk> chunks, Deadline deadline) {
    std::vector<std::int32_t> indexes, firsts, lasts;
    std::vector<std::string> texts;
    std::vector<postgres::Bytes> terms;
    for (const auto& chunk : chunks) {
        indexes.push_back(chunk.index);
        firsts.push_back(chunk.page_first);
        lasts.push_back(chunk.page_last);
        texts.push_back(chunk.text);
        terms.push_back({chunk.terms});
    }
    const auto done = co_await postgres::in_tenant(
        app_, tenant,
        postgres::call(k_stage, tenant, file, generation, indexes, firsts, lasts, texts, terms),
        deadline, postgres::Commit::asynchronous);
    if (!done && postgres::is_sqlstate(done.error(), "23503"))
        co_return fail(ErrorCode::not_found, "the document was deleted");
    if (!done) co_return std::unexpected(done.error());
    co_return Result<void>{};
}

std::vector<postgres::Call> publish_generation(TenantId tenant, FileId file,
                                               std::int64_t generation, std::int32_t chunks) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_publish, file, generation, chunks));
    calls.push_back(postgres::call(k_prune, file, generation));
    calls.push_back(postgres::call(k_bump, tenant));
    return calls;
}

std::vector<postgres::Call> mark_failed(FileId file, std::string_view reason) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_fail, file, reason));
    return calls;
}

}  // namespace millrace::domain::knowledge
