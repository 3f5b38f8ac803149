#include "edge/middleware/stored_answers.hpp"

#include <fmt/format.h>

#include "edge/middleware/job_gate.hpp"
#include "shared/base/crypto.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::edge::middleware {

namespace {

const postgres::Statement k_claim{"answer_claim", R"sql(
WITH mine AS (
    INSERT INTO idempotency AS i (scope_hash, body_hash) VALUES ($1, $2)
    ON CONFLICT (scope_hash) DO UPDATE SET body_hash = excluded.body_hash, created_at = now()
     WHERE i.job_id IS NULL AND i.status IS NULL AND i.created_at < now() - interval '1 minute'
    RETURNING true
)
SELECT true, $2::bytea, NULL::integer, NULL::bytea FROM mine
UNION ALL
SELECT false, body_hash, status, body FROM idempotency WHERE scope_hash = $1 AND NOT EXISTS (SELECT FROM mine))sql"};
const postgres::Statement k_keep{
    "answer_keep", "UPDATE idempotency SET status = $2, body = $3 WHERE scope_hash = $1"};
const postgres::Statement k_release{"answer_release",
                                    "DELETE FROM idempotency WHERE scope_hash = $1"};
constexpr auto k_timeout = std::chrono::seconds(5);

}  // namespace

Task<Result<server::Response>> StoredAnswers::once(Exchange& exchange) {
    const auto& request = exchange.request;
    CO_TRY(const auto key,
           idempotency_key(exchange, fmt::format("{}\n{}", request.path, request.body)));
    if (!key) co_return co_await exchange.endpoint->handler(exchange);
    const postgres::Bytes scope{base::view(key->scope)}, body{base::view(key->body)};
    CO_TRY(const auto rows,
           co_await db_.run(postgres::call(k_claim, scope, body), exchange.deadline));
    // Not even seen: the other's claim has committed since this statement began.
    if (rows.empty()) co_return std::unexpected(domain::jobs::key_in_progress());
    const auto claim = rows[0];
    if (!claim.get<bool>(0)) {
        if (claim.get<std::string_view>(1) != body.data)
            co_return std::unexpected(domain::jobs::key_mismatch());
        const auto status = claim.get<std::optional<std::int32_t>>(2);
        if (!status) co_return std::unexpected(domain::jobs::key_in_progress());
        exchange.repeated = true;
        co_return json_response(*status, claim.get<std::string>(3));
    }
    auto answer = co_await exchange.endpoint->handler(exchange);
    const auto deadline = Deadline::in(k_timeout);
    // Without its answer the key says "still running" for a minute: never that nothing was done.
    const auto kept =
        answer && answer->status < 400
            ? co_await db_.run(postgres::call(k_keep, scope, std::int32_t{answer->status},
                                              postgres::Bytes{answer->body}),
                               deadline)
            : co_await db_.run(postgres::call(k_release, scope), deadline);
    if (!kept)
        telemetry::log::warning("an answer was not kept for its Idempotency-Key",
                                {{"cause", kept.error().log}});
    co_return answer;
}

}  // namespace millrace::edge::middleware
