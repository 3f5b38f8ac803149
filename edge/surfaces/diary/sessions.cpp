// 認証系: where one is signed in, and the end of one of these sessions.

#include "edge/surfaces/diary/diary.hpp"

namespace millrace::edge::surfaces::diary {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

Task<Result<Response>> list(Ports ports, Exchange& exchange) {
    const auto& who = exchange.who();
    CO_TRY(const auto rows, co_await postgres::in_tenant(ports.app, who.tenant,
                                                         domain::identity::list_sessions(who.user),
                                                         exchange.deadline));
    json::Array sessions;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto view = domain::identity::session_view(rows[i]);
        sessions.push_back(json::Object{{"session_id", view.id.str()},
                                        {"client", view.client},
                                        {"created_at", base::rfc3339(view.created_at)},
                                        {"expires_at", base::rfc3339(view.expires_at)},
                                        {"current", view.id == who.session}});
    }
    co_return success(exchange, 200, {{"sessions", std::move(sessions)}});
}

Task<Result<Response>> revoke(Ports ports, Exchange& exchange) {
    const auto& who = exchange.who();
    const auto id = base::Uuid::parse(exchange.request.params.at(0));
    CO_TRY(const bool ended, co_await domain::identity::end_session(
                                 ports.app, who, id.value_or(base::Uuid{}), exchange.deadline));
    if (!ended) co_return fail(ErrorCode::not_found, "there is no such session of yours");
    co_return success(exchange, 200, {{"status", "revoked"}, {"session_id", id->str()}});
}

}  // namespace

std::vector<Endpoint> sessions_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    std::vector<Endpoint> out = {
        {Method::get, "/api/auth/sessions", "diaryListSessions", Auth::bearer, with(list)},
        {Method::del, "/api/auth/session/{id}", "diaryRevokeSession", Auth::bearer, with(revoke)},
    };
    for (auto& endpoint : out) endpoint.limits = member_limits();
    return out;
}

}  // namespace millrace::edge::surfaces::diary
