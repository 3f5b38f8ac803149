// Contract §3.1, and what it leaves out: refresh, sign-out, confirming an address, a forgotten
// password, accepting an invitation.

#include <fmt/format.h>

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "edge/web/page.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/audit/audit.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

namespace identity = domain::identity;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::Limit;
using server::Method;
using server::Response;

namespace {

using namespace std::chrono_literals;

constexpr auto k_verify_lifetime = 24h;
constexpr auto k_reset_lifetime = 10min;

json::Object account_json(const identity::Account& account) {
    return {{"id", account.id.str()},
            {"email", account.email},
            {"username", account.username},
            {"tenant_id", account.tenant.str()},
            {"role", account.role}};
}

Response pair_response(const identity::TokenPair& tokens) {
    return middleware::json_response(
        200, json::dump(json::Object{{"access_token", tokens.access},
                                     {"refresh_token", tokens.refresh},
                                     {"token_type", "bearer"},
                                     {"expires_in", tokens.expires_in.count()}}));
}

Response message_response(std::string_view message) {
    return middleware::json_response(200, json::dump(json::Object{{"message", message}}));
}

Result<std::string> decode_member(std::string_view body, std::string_view name,
                                  std::size_t size_max) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    auto value = in.string(name, {1, size_max});
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return value;
}

/// The link that proves whose address this is, and the mail that carries it.
struct Verification {
    identity::Opened link;
    domain::mail::Letter letter;
};
Verification verification(Ports ports, const Exchange& exchange, const identity::Account& account) {
    auto link = ports.challenges.open_link(
        {.realm = std::string(identity::k_knowledge),
         .purpose = "email_verify",
         .subject = account.id.str(),
         .user = account.id,
         .lifetime = k_verify_lifetime,
         .data =
             json::dump(json::Object{{"email", account.email}, {"username", account.username}})});
    domain::mail::Letter letter{
        .name = "verify_email",
        .locale = std::string(web::locale_of(exchange.request)),
        .to = account.email,
        .data = {{"url_prefix", ports.deployment.public_url + "/console/verify?token="},
                 {"hours", std::chrono::hours(k_verify_lifetime).count()}},
        .secret = link.secret,
        .challenge = link.id};
    return {std::move(link), std::move(letter)};
}

Task<Result<Response>> register_account(Ports ports, Exchange& exchange) {
    CO_TRY(auto registration, identity::decode_registration(exchange.request.body));
    exchange.actor = domain::audit::address_actor(registration.email);
    CO_TRY(auto prepared, co_await ports.accounts.prepare(std::move(registration)));
    auto mail = verification(ports, exchange, prepared.account);
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(prepared.call));
    calls.push_back(std::move(mail.link.call));
    const auto made = co_await commit_with_mail(ports, exchange, prepared.account.tenant,
                                                std::move(calls), std::move(mail.letter));
    if (!made && identity::is_email_taken(made.error())) co_return identity::email_taken();
    if (!made) co_return std::unexpected(made.error());
    co_return middleware::json_response(201, json::dump(account_json(prepared.account)));
}

Task<Result<Response>> login(Ports ports, Exchange& exchange) {
    CO_TRY(auto credentials, identity::decode_sign_in(exchange.request.body));
    exchange.actor = domain::audit::address_actor(credentials.email);
    CO_TRY(const auto tokens,
           co_await ports.accounts.login(std::move(credentials), middleware::client_of(exchange),
                                         exchange.deadline));
    co_return pair_response(tokens);
}

/// Ends the session whose refresh token came back and tells its owner, once.
Task<Result<void>> end_stolen(Ports ports, Exchange& exchange,
                              identity::RefreshTokens::Theft theft) {
    const bool english = theft.locale == "en";
    domain::mail::Letter letter{
        .name = "security_notice",
        .locale = theft.locale,
        .to = theft.email,
        .data = {{"what",
                  english ? "A sign-in was used from two places and has been ended."
                          : "一つのログインが二か所で使われたため、そのログインを終了しました。"},
                 {"when", base::rfc3339(std::chrono::system_clock::now())}}};
    std::vector<postgres::Call> calls;
    calls.push_back(identity::RefreshTokens::end_once(theft.session));
    const auto ended = co_await commit_with_mail(ports, exchange, theft.tenant, std::move(calls),
                                                 std::move(letter));
    if (!ended && !identity::RefreshTokens::is_ended_already(ended.error()))
        co_return std::unexpected(ended.error());
    co_return Result<void>{};
}

Task<Result<Response>> refresh(Ports ports, Exchange& exchange) {
    CO_TRY(auto token, decode_member(exchange.request.body, "refresh_token", 4096));
    CO_TRY(auto rotated, co_await ports.refresh_tokens.rotate(std::move(token), exchange.deadline));
    if (rotated.pair) co_return pair_response(*rotated.pair);
    CO_TRY_VOID(co_await end_stolen(ports, exchange, std::move(*rotated.theft)));
    co_return identity::refuse_credential("a spent refresh token came back");
}

Task<Result<Response>> logout(Ports ports, Exchange& exchange) {
    const auto& who = exchange.who();
    CO_TRY_VOID(co_await identity::end_session(ports.app, who, who.session, exchange.deadline));
    co_return message_response("ログアウトしました");
}

Task<Result<Response>> me(Ports ports, Exchange& exchange) {
    CO_TRY(const auto account,
           co_await ports.accounts.find(exchange.who().user, exchange.deadline));
    auto body = account_json(account);
    body["is_active"] = account.is_active;
    body["is_verified"] = account.is_verified;
    body["is_owner"] = account.is_owner;
    co_return middleware::json_response(200, json::dump(body));
}

Task<Result<Response>> request_verification(Ports ports, Exchange& exchange) {
    CO_TRY(const auto account,
           co_await ports.accounts.find(exchange.who().user, exchange.deadline));
    auto mail = verification(ports, exchange, account);
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(mail.link.call));
    CO_TRY_VOID(co_await commit_with_mail(ports, exchange, account.tenant, std::move(calls),
                                          std::move(mail.letter)));
    co_return message_response("確認メールを送信しました");
}

/// The same work and answer whether the address is known or not: the mail worker drops the mail
/// that has no account [S2].
Task<Result<Response>> request_reset(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    const auto email = identity::read_email(in);
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    const auto key = base::ascii_lower(email);
    exchange.actor = domain::audit::address_actor(key);
    std::vector<Limit> limits;
    limits.push_back(
        {.name = "password_reset", .per = Limit::Per::subject, .max = 3, .window = 600s});
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange, std::move(limits), key));
    auto link = ports.challenges.open_link({.realm = std::string(identity::k_knowledge),
                                            .purpose = "password_reset",
                                            .subject = key,
                                            .lifetime = k_reset_lifetime});
    domain::mail::Letter letter{
        .name = "password_reset",
        .locale = std::string(web::locale_of(exchange.request)),
        .to = email,
        .data = {{"url_prefix", ports.deployment.public_url + "/console/reset?token="},
                 {"minutes", std::chrono::minutes(k_reset_lifetime).count()}},
        .secret = link.secret,
        .challenge = link.id,
        .needs_account = true};
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(link.call));
    CO_TRY_VOID(co_await commit_with_mail(ports, exchange, domain::jobs::k_system_tenant,
                                          std::move(calls), std::move(letter)));
    co_return message_response(
        "このメールアドレスのアカウントがあれば、パスワード再設定のメールを送信しました");
}

Task<Result<Response>> reset(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(co_await confirm_reset(ports, exchange, exchange.request.body));
    co_return message_response("パスワードを変更しました");
}

Task<Result<Response>> accept(Ports ports, Exchange& exchange) {
    const auto existing =
        exchange.principal ? std::optional(exchange.principal->user) : std::nullopt;
    CO_TRY(auto acceptance,
           identity::decode_acceptance(exchange.request.body, !existing.has_value()));
    CO_TRY(const auto joined,
           co_await accept_invitation(ports, exchange, std::move(acceptance), existing));
    co_return middleware::json_response(existing ? 200 : 201,
                                        json::dump(account_json(joined.account)));
}

}  // namespace

Task<Result<identity::Tenants::Joined>> accept_invitation(Ports ports, Exchange& exchange,
                                                          identity::Acceptance acceptance,
                                                          std::optional<base::UserId> existing) {
    CO_TRY(const auto link,
           co_await ports.challenges.see_link("invitation", acceptance.token, exchange.deadline));
    if (!link) co_return identity::link_expired();
    CO_TRY(auto document, json::parse(link->data));
    const auto invitation = document.reader().uuid("invitation");
    co_return co_await ports.tenants.accept(invitation, existing, std::move(acceptance),
                                            exchange.deadline);
}

Task<Result<void>> confirm_reset(Ports ports, Exchange& exchange, std::string_view body) {
    CO_TRY(const auto document, json::parse(body));
    auto in = document.reader();
    const auto token = in.string("token", {1, 200});
    const auto password = identity::read_password(in);
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    CO_TRY(const auto link,
           co_await ports.challenges.see_link("password_reset", token, exchange.deadline));
    if (!link) co_return identity::link_expired();
    if (link->user) exchange.actor = domain::audit::user_actor(*link->user);
    CO_TRY(const bool done,
           co_await ports.accounts.reset_password(link->id, password, exchange.deadline));
    if (!done) co_return identity::link_expired();
    co_return Result<void>{};
}

std::vector<Endpoint> auth_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    // Contract §6, each endpoint on its own.
    const auto rate = [max = ports.deployment.auth_rate](std::string_view name) {
        return std::vector<Limit>{
            {.name = name, .per = Limit::Per::ip, .max = max, .window = k_minute}};
    };
    const std::vector<Limit> mails = {
        {.name = "verification", .per = Limit::Per::user, .max = 3, .window = 600s}};
    return {
        {Method::post,
         "/api/v1/auth/register",
         "register",
         Auth::none,
         with(register_account),
         {},
         rate("register")},
        {Method::post, "/api/v1/auth/login", "login", Auth::none, with(login), {}, rate("login")},
        {Method::post,
         "/api/v1/auth/refresh",
         "refreshTokens",
         Auth::none,
         with(refresh),
         {},
         rate("refresh")},
        {Method::post, "/api/v1/auth/logout", "logout", Auth::bearer, with(logout)},
        {Method::get, "/api/v1/auth/me", "me", Auth::bearer, with(me)},
        {Method::post,
         "/api/v1/auth/verification",
         "requestVerification",
         Auth::bearer,
         with(request_verification),
         {},
         mails},
        {Method::post,
         "/api/v1/auth/password/reset/request",
         "requestPasswordReset",
         Auth::none,
         with(request_reset),
         {},
         rate("password_reset")},
        {Method::post,
         "/api/v1/auth/password/reset/confirm",
         "confirmPasswordReset",
         Auth::none,
         with(reset),
         {},
         rate("password_reset_confirm")},
        {Method::post,
         "/api/v1/auth/invitations/accept",
         "acceptInvitation",
         Auth::optional_bearer,
         with(accept),
         {},
         rate("invitation_accept")},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
