// A tenant's index made anew, judged by its questions, and rolled back.

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

using domain::knowledge::IndexGeneration;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

json::Object generation_json(const IndexGeneration& generation) {
    const bool elsewhere = generation.status != "building" && generation.status != "live";
    return {{"id", generation.id.str()},
            {"job_id", generation.job ? json::Value(generation.job->str()) : json::Value(nullptr)},
            {"status", generation.status},
            {"can_activate", elsewhere && generation.kept},
            {"reason", json::or_null(generation.reason)},
            {"files_total", generation.files_total},
            {"files_done", generation.files_done},
            {"files_failed", generation.files_failed},
            {"score_before", json::or_null(generation.score_before)},
            {"score_after", json::or_null(generation.score_after)},
            {"created_at", base::rfc3339(generation.created_at)},
            {"live_at", generation.live_at ? json::Value(base::rfc3339(*generation.live_at))
                                           : json::Value(nullptr)}};
}

Task<Result<Response>> start(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(administered_tenant(exchange));
    CO_TRY_VOID(co_await take_user_rate(ports, exchange, "uploads", ports.deployment.upload_rate));
    CO_TRY(const auto started,
           co_await ports.generations.start(exchange.who(), exchange.trace, exchange.deadline));
    if (started.announced) ports.publisher.announce({&*started.announced, 1});
    co_return ports.gate.accepted_response({.id = started.job}, domain::jobs::Status::waiting, {});
}

Task<Result<Response>> list(Ports ports, Exchange& exchange) {
    CO_TRY(const auto tenant, administered_tenant(exchange));
    CO_TRY(const auto found, co_await ports.generations.list(tenant, exchange.deadline));
    json::Array body;
    for (const auto& generation : found) body.push_back(generation_json(generation));
    co_return middleware::json_response(200, json::dump(body));
}

Task<Result<Response>> activate(Ports ports, Exchange& exchange) {
    CO_TRY(const auto tenant, administered_tenant(exchange));
    const auto id = base::Uuid::parse(exchange.request.params.at(1));
    std::optional<std::int32_t> changed;
    std::optional<IndexGeneration> found;
    if (id) {
        CO_TRY(changed, co_await ports.generations.activate(tenant, *id, exchange.deadline));
        CO_TRY(found, co_await ports.generations.find(tenant, *id, exchange.deadline));
    }
    if (!found) co_return fail(ErrorCode::not_found, "there is no such index generation");
    if (!changed && found->status != "live") {
        co_return fail(ErrorCode::conflict, found->status == "building"
                                                ? "this index generation is still being built"
                                                : "its passages are no longer kept");
    }
    co_return middleware::json_response(200, json::dump(generation_json(*found)));
}

Task<Result<Response>> read_questions(Ports ports, Exchange& exchange) {
    CO_TRY(const auto tenant, administered_tenant(exchange));
    CO_TRY(const auto questions, co_await ports.generations.questions(tenant, exchange.deadline));
    co_return middleware::json_response(200, domain::knowledge::to_json(questions));
}

Task<Result<Response>> set_questions(Ports ports, Exchange& exchange) {
    CO_TRY(const auto tenant, administered_tenant(exchange));
    CO_TRY(const auto questions, domain::knowledge::decode_question_set(exchange.request.body));
    CO_TRY_VOID(co_await ports.generations.set_questions(tenant, questions, exchange.deadline));
    co_return middleware::json_response(200, domain::knowledge::to_json(questions));
}

}  // namespace

std::vector<Endpoint> generations_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::post, "/api/v1/tenants/{tenant_id}/reindex", "reindexTenant", Auth::bearer,
         with(start)},
        {Method::get, "/api/v1/tenants/{tenant_id}/index-generations", "listIndexGenerations",
         Auth::bearer, with(list)},
        {Method::post, "/api/v1/tenants/{tenant_id}/index-generations/{index_generation}/activate",
         "activateIndexGeneration", Auth::bearer, with(activate)},
        {Method::get, "/api/v1/tenants/{tenant_id}/question-set", "getQuestionSet", Auth::bearer,
         with(read_questions)},
        {Method::put, "/api/v1/tenants/{tenant_id}/question-set", "setQuestionSet", Auth::bearer,
         with(set_questions)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
