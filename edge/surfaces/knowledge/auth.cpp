// Contract §3.1.

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

json::Object account_json(const domain::identity::Account& account) {
    return {{"id", account.id.str()},
            {"email", account.email},
            {"username", account.username},
            {"tenant_id", account.tenant.str()},
            {"role", account.role}};
}

Task<Result<Response>> register_account(Ports ports, Exchange& exchange) {
    CO_TRY(auto registration, domain::identity::decode_registration(exchange.request.body));
    CO_TRY(const auto account,
           co_await ports.accounts.create(std::move(registration), exchange.deadline));
    co_return middleware::json_response(201, json::dump(account_json(account)));
}

Task<Result<Response>> login(Ports ports, Exchange& exchange) {
    CO_TRY(auto credentials, domain::identity::decode_sign_in(exchange.request.body));
    CO_TRY(const auto tokens,
           co_await ports.accounts.login(std::move(credentials), exchange.deadline));
    co_return middleware::json_response(
        200, json::dump(json::Object{{"access_token", tokens.access},
                                     {"refresh_token", tokens.refresh},
                                     {"token_type", "bearer"},
                                     {"expires_in", tokens.expires_in.count()}}));
}

Task<Result<Response>> me(Ports ports, Exchange& exchange) {
    CO_TRY(const auto account, co_await ports.accounts.find(exchange.who(), exchange.deadline));
    auto body = account_json(account);
    body["is_active"] = account.is_active;
    body["is_verified"] = account.is_verified;
    body["is_owner"] = account.is_owner;
    co_return middleware::json_response(200, json::dump(body));
}

}  // namespace

std::vector<Endpoint> auth_endpoints(Ports ports) {
    const auto with =
        [ports](Task<Result<Response>> (*handler)(Ports, Exchange&)) -> middleware::Handler {
        return [ports, handler](Exchange& exchange) { return handler(ports, exchange); };
    };
    return {
        {Method::post, "/api/v1/auth/register", "register", Auth::none, with(register_account)},
        {Method::post, "/api/v1/auth/login", "login", Auth::none, with(login)},
        {Method::get, "/api/v1/auth/me", "me", Auth::bearer, with(me)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
