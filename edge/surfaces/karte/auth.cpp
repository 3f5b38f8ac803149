// Contract karte.md, "認証系API", and the page that a mailed link opens (design §4).

#include "edge/surfaces/karte/karte.hpp"
#include "edge/web/page.hpp"
#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/audit/audit.hpp"
#include "shared/domain/identity/address.hpp"
#include "shared/domain/identity/persons.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::karte {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::Limit;
using server::Method;
using server::Response;
using namespace std::chrono_literals;

namespace {

constexpr auto k_link_lifetime = 10min;
constexpr auto k_handover_lifetime = 2min;
constexpr auto k_session_lifetime = std::chrono::days(365);

constexpr const char* k_realm = "karte";
constexpr const char* k_link = "magic_link";       // mailed
constexpr const char* k_handover = "magic_login";  // from the button to auth-verify-token

constexpr Limit k_send_by_ip{
    .name = "magic_link_ip", .per = Limit::Per::ip, .max = 5, .window = 60s};
constexpr Limit k_send_by_address{
    .name = "magic_link", .per = Limit::Per::subject, .max = 5, .window = 60s};

Response redirect(int status, std::string location) {
    Response response;
    response.status = status;
    response.headers.emplace_back("Location", std::move(location));
    return response;
}

Task<Result<Response>> health(Ports, Exchange&) {
    co_return middleware::json_response(200, R"({"status":"ok"})");
}

Task<Result<Response>> send_magic_link(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    const auto email = in.string("email", {1, 254});
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    if (!domain::identity::is_email(email)) {
        co_return fail(ErrorCode::invalid, "email: メールアドレスの形式が正しくありません。",
                       {.field = "email"});
    }
    const auto subject = base::ascii_lower(email);
    exchange.actor = domain::audit::address_actor(subject);
    CO_TRY_VOID(
        co_await middleware::take_limits(ports.limits, exchange, {k_send_by_address}, subject));
    auto opened = ports.challenges.open_link(
        {.realm = k_realm, .purpose = k_link, .subject = subject, .lifetime = k_link_lifetime});
    domain::mail::Letter letter{.name = "magic_link",
                                .locale = std::string(web::locale_of(exchange.request)),
                                .to = email,
                                .data = {{"product", "karte"},
                                         {"url_prefix", ports.public_url + "/login/"},
                                         {"minutes", k_link_lifetime.count()}},
                                .secret = {},
                                .challenge = {}};
    CO_TRY_VOID(co_await domain::mail::mail_secret(ports.post, std::move(opened), std::move(letter),
                                                   exchange.trace, exchange.deadline));
    co_return middleware::json_response(
        200,
        json::dump(json::Object{{"message", "Magic link sent successfully"}, {"email", email}}));
}

/// Mail scanners open links, and some run scripts: nothing happens before the button is pressed.
Task<Result<Response>> show_login(Ports ports, Exchange& exchange) {
    const std::string token(exchange.request.params[0]);
    const auto locale = web::locale_of(exchange.request);
    CO_TRY(const auto link, co_await ports.challenges.see_link(k_link, token, exchange.deadline));
    co_return link ? confirm_page(token, locale, ports.destinations)
                   : notice_page(410, Notice::stale, locale);
}

Task<Result<Response>> confirm_login(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(web::require_same_origin(exchange.request, ports.public_url));
    const std::string token(exchange.request.params[0]);
    CO_TRY(const auto seen, co_await ports.challenges.see_link(k_link, token, exchange.deadline));
    if (!seen) co_return notice_page(410, Notice::stale, web::locale_of(exchange.request));
    exchange.actor = domain::audit::address_actor(seen->subject);
    CO_TRY(const auto transaction, co_await ports.app.begin(exchange.deadline));
    CO_TRY(const auto rows, co_await transaction->run(ports.challenges.use_link_call(k_link, token),
                                                      exchange.deadline));
    const auto link = domain::identity::Challenges::redeemed(rows);
    if (!link) co_return notice_page(410, Notice::stale, web::locale_of(exchange.request));
    auto handover = ports.challenges.open_link({.realm = k_realm,
                                                .purpose = k_handover,
                                                .subject = link->subject,
                                                .lifetime = k_handover_lifetime});
    CO_TRY_VOID(co_await transaction->run(std::move(handover.call), exchange.deadline));
    CO_TRY_VOID(co_await transaction->commit(exchange.deadline));
    co_return redirect(303, "/api/auth-verify-token?token=" + handover.secret);
}

/// Browsers get a page, programs get JSON.
Result<Response> refuse_token(const server::Request& request) {
    if (request.header("accept").find("text/html") != std::string_view::npos) {
        auto page = notice_page(401, Notice::stale, web::locale_of(request));
        page.headers.emplace_back("WWW-Authenticate", "Bearer");
        return page;
    }
    return fail(ErrorCode::unauthenticated,
                "token: リンクが無効か、使用済みか、有効期限が切れています。", {.field = "token"});
}

/// The account of a proven address, and where it goes on. Nobody gets a session that nobody would
/// receive: whoever has to pay first signs in again afterwards.
Task<Result<std::string>> admit(Ports ports, Exchange& exchange, postgres::Transaction& transaction,
                                std::string address) {
    const domain::identity::NewPerson person{
        .realm = k_realm,
        .address = address,
        .locale = std::string(web::locale_of(exchange.request))};
    if (!ports.destinations.checkout.empty()) {
        CO_TRY(const auto rows, co_await transaction.run(ensure_person(person), exchange.deadline));
        CO_TRY_VOID(domain::identity::require_active(domain::identity::person(rows)));
        co_return ports.destinations.checkout;
    }
    const domain::identity::NewSession session{.tenant = {},
                                               .user = {},
                                               .audience = "karte",
                                               .client = middleware::client_of(exchange),
                                               .lifetime = k_session_lifetime};
    CO_TRY(const auto signed_in,
           co_await sign_in(transaction, person, session, {}, exchange.deadline));
    const auto now = std::chrono::system_clock::now();
    const auto token = ports.tokens.issue({.user = signed_in.user,
                                           .session = session.id,
                                           .audience = session.audience,
                                           .type = "session",
                                           .id = base::random_token(16),
                                           .email = std::move(address),
                                           .issued_at = now,
                                           .expires_at = now + k_session_lifetime});
    const auto& page = ports.destinations.success;
    // A fragment never leaves the browser: it is in no server's log and in no Referer.
    co_return (page.empty() ? "/login/done" : page) + "#token=" + token;
}

/// Takes the token that the button's answer leads here with, and that of the mailed link itself:
/// only programs, which know what they do, bring the latter here.
Task<Result<Response>> verify_token(Ports ports, Exchange& exchange) {
    const auto token = exchange.request.query_param("token");
    if (!token || token->empty()) {
        co_return fail(ErrorCode::invalid, "token: トークンが指定されていません。",
                       {.field = "token"});
    }
    // Looked at before a transaction is begun, of which there are few: wrong tokens are cheap.
    const auto* purpose = k_handover;
    CO_TRY(auto seen, co_await ports.challenges.see_link(purpose, *token, exchange.deadline));
    if (!seen) {
        purpose = k_link;
        CO_TRY(seen, co_await ports.challenges.see_link(purpose, *token, exchange.deadline));
    }
    if (!seen) co_return refuse_token(exchange.request);
    // HEAD only asks.
    if (exchange.request.method == Method::head) co_return middleware::json_response(200, {});
    CO_TRY(const auto transaction, co_await ports.app.begin(exchange.deadline));
    CO_TRY(const auto rows,
           co_await transaction->run(ports.challenges.use_link_call(purpose, *token),
                                     exchange.deadline));
    const auto proof = domain::identity::Challenges::redeemed(rows);
    if (!proof) co_return refuse_token(exchange.request);
    exchange.actor = domain::audit::address_actor(proof->subject);
    CO_TRY(auto location, co_await admit(ports, exchange, *transaction, proof->subject));
    CO_TRY_VOID(co_await transaction->commit(exchange.deadline));
    co_return redirect(302, std::move(location));
}

Task<Result<Response>> show_signed_in(Ports, Exchange& exchange) {
    co_return notice_page(200, Notice::signed_in, web::locale_of(exchange.request));
}

Task<Result<Response>> end_session(Ports ports, Exchange& exchange) {
    const auto& who = exchange.who();
    CO_TRY(const bool ended,
           co_await domain::identity::end_session(ports.app, who, who.session, exchange.deadline));
    if (!ended) co_return domain::identity::refuse_credential("ended already");
    Response response;
    response.status = 204;
    co_return response;
}

}  // namespace

std::vector<Endpoint> auth_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get, "/api/health", "karteHealth", Auth::none, with(health)},
        {Method::post,
         "/api/auth-send-magic-link",
         "sendMagicLink",
         Auth::none,
         with(send_magic_link),
         {},
         {k_send_by_ip}},
        {Method::get, "/login/{token}", "showLogin", Auth::none, with(show_login)},
        {Method::post, "/login/{token}", "confirmLogin", Auth::none, with(confirm_login)},
        {Method::get, "/login/done", "showSignedIn", Auth::none, with(show_signed_in)},
        {Method::get, "/api/auth-verify-token", "verifyToken", Auth::none, with(verify_token)},
        {Method::del, "/api/auth-session", "endSession", Auth::bearer, with(end_session)},
    };
}

}  // namespace millrace::edge::surfaces::karte
