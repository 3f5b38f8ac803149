#include "shared/domain/knowledge/generations.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

constexpr std::size_t k_questions_max = 500;
constexpr std::size_t k_files_max = 50;  // of one question
constexpr std::int64_t k_listed_max = 100;

// What touches every document of a tenant takes a second per 20,000.
const Statement k_patience{"generations_patience",
                           "SELECT set_config('statement_timeout', '60s', true)"};
const Statement k_start{"generations_start",
                        "SELECT started, job, announced FROM start_index_generation($1, $2, $3, "
                        "$4)"};
const Statement k_list{"generations_list", R"sql(
SELECT g.id, g.job_id, g.status, g.kept, g.reason, g.score_before::float8, g.score_after::float8, g.files_total::bigint,
       CASE WHEN g.status = 'building' THEN (SELECT count(chunk_generation) FROM generation_files f WHERE f.index_generation = g.id) ELSE g.files_done END,
       CASE WHEN g.status = 'building' THEN (SELECT count(reason) FROM generation_files f WHERE f.index_generation = g.id) ELSE g.files_failed END,
       g.created_at, g.live_at
  FROM index_generations g WHERE g.tenant_id = $1 AND ($2::uuid IS NULL OR g.id = $2) ORDER BY g.created_at DESC, g.job_id DESC NULLS LAST LIMIT $3)sql"};
const Statement k_activate{"generations_activate", "SELECT activate_index_generation($1, $2)"};
const Statement k_losses{"generations_losses", R"sql(
SELECT f.file_name || ': ' || g.reason FROM generation_files g JOIN files f ON f.id = g.file_id
 WHERE g.tenant_id = $1 AND g.index_generation = $2 AND g.reason IS NOT NULL AND f.generation > 0 ORDER BY f.file_name, f.id LIMIT $3)sql"};
const Statement k_questions{"questions_get",
                            "SELECT jsonb_build_object('questions', questions)::text FROM "
                            "question_sets WHERE tenant_id = $1"};
const Statement k_known_files{"questions_files",
                              "SELECT id FROM files WHERE tenant_id = $1 AND id = ANY ($2)"};
const Statement k_set_questions{"questions_set", R"sql(
INSERT INTO question_sets (tenant_id, questions) VALUES ($1, $2::jsonb -> 'questions')
ON CONFLICT (tenant_id) DO UPDATE SET questions = excluded.questions, updated_at = now())sql"};
const Statement k_no_questions{"questions_remove",
                               "DELETE FROM question_sets WHERE tenant_id = $1"};
const Statement k_stage{"generations_stage", R"sql(
UPDATE generation_files g SET chunk_generation = $3, chunk_count = $4, reason = NULL FROM index_generations i
 WHERE i.id = g.index_generation AND i.id = $1 AND i.status = 'building' AND g.file_id = $2)sql"};
const Statement k_unstage{"generations_unstage", R"sql(
DELETE FROM chunks WHERE file_id = $1 AND generation = $2
   AND NOT EXISTS (SELECT FROM kept_chunks WHERE file_id = $1 AND chunk_generation = $2))sql"};
const Statement k_advance{"generations_advance", "SELECT advance_index_generation($1)"};
const Statement k_scores{
    "generations_scores",
    "UPDATE index_generations SET score_before = $2, score_after = $3 WHERE id = $1"};
const Statement k_turn_down{
    "generations_turn_down",
    "UPDATE index_generations SET status = $2, reason = $3 WHERE id = $1 AND status = 'building'"};
const Statement k_advance_all{"generations_advance_all", "SELECT advance_index_generations()"};
const Statement k_expire{"generations_expire", "SELECT expire_index_generations()"};
const Statement k_prune{"generations_prune", "SELECT prune_index_generations($1)"};

IndexGeneration generation_of(const postgres::Row& row) {
    return {.id = row.get<base::Uuid>(0),
            .job = row.get<std::optional<base::JobId>>(1),
            .status = row.get<std::string>(2),
            .kept = row.get<bool>(3),
            .reason = row.get<std::optional<std::string>>(4),
            .score_before = row.get<std::optional<double>>(5),
            .score_after = row.get<std::optional<double>>(6),
            .files_total = row.get<std::int64_t>(7),
            .files_done = row.get<std::int64_t>(8),
            .files_failed = row.get<std::int64_t>(9),
            .created_at = row.get<base::WallTime>(10),
            .live_at = row.get<std::optional<base::WallTime>>(11)};
}

void add_scores(std::vector<postgres::Call>& calls, base::Uuid generation,
                const std::optional<Scores>& scores) {
    if (scores)
        calls.push_back(postgres::call(k_scores, generation, scores->before, scores->after));
}

}  // namespace

Result<std::vector<CheckQuestion>> decode_question_set(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    if (!in.has("questions")) in.reject("questions", "is required");
    std::vector<CheckQuestion> out;
    for (auto& one : in.objects("questions", k_questions_max)) {
        auto& question = out.emplace_back(one.string("question", {1, 1000}));
        if (question.question.contains('\0')) one.reject("question", "must be text");
        const auto files = one.strings("file_ids", k_files_max);
        if (files.empty()) one.reject("file_ids", "must name a document");
        for (const auto& text : files) {
            const auto id = base::FileId::parse(text);
            if (!id) one.reject("file_ids", "must be UUIDs");
            if (id) question.files.push_back(*id);
        }
    }
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

std::string to_json(const std::vector<CheckQuestion>& questions) {
    json::Array out;
    for (const auto& one : questions) {
        json::Array files;
        for (const auto& file : one.files) files.push_back(json::Value(file.str()));
        out.push_back(json::Object{{"question", one.question}, {"file_ids", std::move(files)}});
    }
    return json::dump(json::Object{{"questions", std::move(out)}});
}

std::string to_json(const ReindexRequested& event) {
    return json::dump(json::Object{{"index_generation", event.index_generation.str()}});
}

Result<ReindexRequested> parse_reindex_requested(std::string_view text) {
    TRY(const auto document, json::parse(text));
    auto in = document.reader();
    ReindexRequested out{in.uuid("index_generation")};
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<IndexGenerations::Started>> IndexGenerations::start(identity::Principal owner,
                                                                telemetry::TraceContext trace,
                                                                Deadline deadline) {
    const auto origin = trace.bytes();
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(owner.tenant));
    calls.push_back(postgres::call(k_patience));
    calls.push_back(postgres::call(k_start, base::uuid_v7(), base::JobId::make(), owner.user,
                                   postgres::Bytes{origin}));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    const auto row = results.back()[0];
    co_return Started{row.get<base::Uuid>(0), row.get<base::JobId>(1),
                      row.get<std::optional<base::Uuid>>(2)};
}

Task<Result<std::vector<IndexGeneration>>> IndexGenerations::find_all(base::TenantId tenant,
                                                                      std::optional<base::Uuid> id,
                                                                      Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant, postgres::call(k_list, tenant, id, k_listed_max), deadline));
    std::vector<IndexGeneration> out;
    for (std::size_t r = 0; r < results.size(); ++r) out.push_back(generation_of(results[r]));
    co_return out;
}

Task<Result<std::vector<IndexGeneration>>> IndexGenerations::list(base::TenantId tenant,
                                                                  Deadline deadline) {
    co_return co_await find_all(tenant, std::nullopt, deadline);
}

Task<Result<std::optional<IndexGeneration>>> IndexGenerations::find(base::TenantId tenant,
                                                                    base::Uuid id,
                                                                    Deadline deadline) {
    CO_TRY(auto found, co_await find_all(tenant, id, deadline));
    if (found.empty()) co_return std::nullopt;
    co_return std::move(found.front());
}

Task<Result<std::optional<std::int32_t>>> IndexGenerations::activate(base::TenantId tenant,
                                                                     base::Uuid id,
                                                                     Deadline deadline) {
    const std::vector<std::string> from = {"retired", "rejected", "failed"};
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_patience));
    calls.push_back(postgres::call(k_activate, id, from));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    co_return results.back()[0].get<std::optional<std::int32_t>>(0);
}

Task<Result<std::vector<std::string>>> IndexGenerations::losses(base::TenantId tenant,
                                                                base::Uuid id, std::int64_t limit,
                                                                Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_losses, tenant, id, limit),
                                        deadline));
    std::vector<std::string> out;
    for (std::size_t r = 0; r < results.size(); ++r) out.push_back(results[r].get<std::string>(0));
    co_return out;
}

Task<Result<std::vector<CheckQuestion>>> IndexGenerations::questions(base::TenantId tenant,
                                                                     Deadline deadline) {
    CO_TRY(const auto results, co_await postgres::in_tenant(
                                   app_, tenant, postgres::call(k_questions, tenant), deadline));
    if (results.empty()) co_return std::vector<CheckQuestion>{};
    co_return decode_question_set(results[0].get<std::string_view>(0));
}

Task<Result<void>> IndexGenerations::set_questions(base::TenantId tenant,
                                                   std::vector<CheckQuestion> questions,
                                                   Deadline deadline) {
    std::vector<base::Uuid> named;
    for (const auto& one : questions)
        for (const auto& file : one.files) named.push_back(file.uuid);
    CO_TRY(const auto known,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_known_files, tenant, named),
                                        deadline));
    std::vector<base::Uuid> ours;
    for (std::size_t r = 0; r < known.size(); ++r) ours.push_back(known[r].get<base::Uuid>(0));
    std::ranges::sort(ours);
    for (std::size_t i = 0; i < questions.size(); ++i) {
        for (const auto& file : questions[i].files) {
            if (std::ranges::binary_search(ours, file.uuid)) continue;
            const auto field = fmt::format("questions[{}].file_ids", i);
            co_return fail(ErrorCode::invalid,
                           fmt::format("{}: there is no file {}", field, file.str()),
                           {.field = field});
        }
    }
    CO_TRY_VOID(co_await postgres::in_tenant(
        app_, tenant,
        questions.empty() ? postgres::call(k_no_questions, tenant)
                          : postgres::call(k_set_questions, tenant, to_json(questions)),
        deadline));
    co_return Result<void>{};
}

std::vector<postgres::Call> stage_in_generation(base::Uuid generation, base::FileId file,
                                                std::int64_t chunk_generation,
                                                std::int32_t chunks) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_stage, generation, file, chunk_generation, chunks));
    calls.push_back(postgres::call(k_unstage, file, chunk_generation));
    return calls;
}

postgres::Call advance_generation(base::Uuid generation) {
    return postgres::call(k_advance, generation);
}

std::vector<postgres::Call> go_live(base::Uuid generation, std::optional<Scores> scores) {
    const std::vector<std::string> from = {"building"};
    std::vector<postgres::Call> calls;
    add_scores(calls, generation, scores);
    calls.push_back(postgres::call(k_patience));
    calls.push_back(postgres::call(k_activate, generation, from));
    return calls;
}

std::vector<postgres::Call> turn_down(base::Uuid generation, std::string_view status,
                                      std::string_view reason, std::optional<Scores> scores) {
    std::vector<postgres::Call> calls;
    add_scores(calls, generation, scores);
    calls.push_back(postgres::call(k_turn_down, generation, status, reason));
    return calls;
}

Task<Result<std::vector<base::Uuid>>> advance_generations(postgres::Database& pipeline,
                                                          Deadline deadline) {
    CO_TRY(const auto rows, co_await pipeline.run(postgres::call(k_advance_all), deadline));
    std::vector<base::Uuid> out;
    for (std::size_t r = 0; r < rows.size(); ++r) out.push_back(rows[r].get<base::Uuid>(0));
    co_return out;
}

Task<Result<std::int64_t>> expire_generations(postgres::Database& pipeline, Deadline deadline) {
    CO_TRY(const auto rows, co_await pipeline.run(postgres::call(k_expire), deadline));
    co_return rows[0].get<std::int64_t>(0);
}

Task<Result<std::int64_t>> prune_generations(postgres::Database& pipeline, int batch,
                                             Deadline deadline) {
    CO_TRY(const auto rows, co_await pipeline.run(postgres::call(k_prune, batch), deadline));
    co_return rows[0].get<std::int64_t>(0);
}

}  // namespace millrace::domain::knowledge
