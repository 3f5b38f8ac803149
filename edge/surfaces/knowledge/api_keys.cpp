// Contract §3.5: the tenant's own keys at model providers.

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

namespace billing = domain::billing;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

json::Object key_json(const billing::ProviderKey& key) {
    return {{"id", key.id.str()},
            {"provider", key.provider},
            {"model", key.model},
            {"is_active", key.is_active},
            {"created_at", base::rfc3339(key.created_at)}};
}

Task<Result<Response>> list(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    CO_TRY(const auto keys,
           co_await ports.provider_keys.list(exchange.who().tenant, exchange.deadline));
    json::Array body;
    for (const auto& key : keys) body.push_back(key_json(key));
    co_return middleware::json_response(200, json::dump(body));
}

Task<Result<Response>> create(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    CO_TRY(auto wanted, billing::decode_provider_key(exchange.request.body, ports.models));
    CO_TRY(const auto key, co_await ports.provider_keys.create(
                               exchange.who().tenant, std::move(wanted), exchange.deadline));
    co_return middleware::json_response(201, json::dump(key_json(key)));
}

Task<Result<Response>> remove(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    const auto id = base::Uuid::parse(exchange.request.params.at(0));
    bool removed = false;
    if (id) {
        CO_TRY(removed,
               co_await ports.provider_keys.remove(exchange.who().tenant, *id, exchange.deadline));
    }
    if (!removed) co_return fail(ErrorCode::not_found, "there is no such API key");
    co_return middleware::json_response(
        200, json::dump(json::Object{{"message", "APIキーが削除されました"}}));
}

}  // namespace

std::vector<Endpoint> api_keys_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get, "/api/v1/api-keys", "listApiKeys", Auth::bearer, with(list)},
        {Method::post,
         "/api/v1/api-keys",
         "createApiKey",
         Auth::bearer,
         with(create),
         {},
         {},
         true},
        {Method::del, "/api/v1/api-keys/{api_key_id}", "deleteApiKey", Auth::bearer, with(remove)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
