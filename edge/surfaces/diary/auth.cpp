// 認証系: registration, sign-in, the second factor, a forgotten password.

#include "edge/surfaces/diary/diary.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/audit/audit.hpp"
#include "shared/domain/identity/address.hpp"

namespace millrace::edge::surfaces::diary {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::Limit;
using server::Method;
using server::Response;
using namespace std::chrono_literals;

namespace {

/// What starts a mail, by account.
constexpr Limit started(std::string_view name) {
    return {.name = name, .per = Limit::Per::subject, .max = 3, .window = 10min};
}

/// `name`: a literal.
std::vector<Limit> visitor_limits(std::string_view name) {
    return {{.name = name, .per = Limit::Per::ip, .max = 20, .window = 1min}};
}

std::string read_address(json::Reader& in) {
    auto email = in.string("email", {3, 254});
    if (!domain::identity::is_email(email)) in.reject("email", "must be an e-mail address");
    return email;
}

Task<Result<Response>> start_registration(Ports ports, Exchange& exchange) {
    CO_TRY(auto registration, domain::diary::decode_registration(exchange.request.body));
    exchange.actor = domain::audit::address_actor(registration.email);
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange,
                                                 {started("diary_register")},
                                                 base::ascii_lower(registration.email)));
    CO_TRY_VOID(
        co_await ports.accounts.start_registration(std::move(registration), caller_of(exchange)));
    co_return success(exchange, 201, {{"status", "otp_sent"}}, domain::diary::k_code_lifetime);
}

Task<Result<Response>> login(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    const auto email = in.string("email", {1, 254});
    auto password = in.string("password", {1, 1024});
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    exchange.actor = domain::audit::address_actor(email);
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange, {k_password_limit},
                                                 base::ascii_lower(email)));
    CO_TRY(auto known,
           co_await ports.accounts.check_password(email, std::move(password), exchange.deadline));
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange, {started("diary_otp")},
                                                 known.user.str()));
    CO_TRY(const auto session,
           co_await ports.accounts.start_session(std::move(known), caller_of(exchange)));
    auto body = to_json(session);
    body["status"] = "otp_required";
    body["otp_methods"] = session.has_totp ? json::Array{"email", "totp"} : json::Array{"email"};
    co_return success(exchange, 200, std::move(body), domain::diary::k_code_lifetime);
}

/// With the session of a login, or with the address of a registration.
Task<Result<Response>> verify(Ports ports, Exchange& exchange) {
    if (exchange.principal && exchange.who().second_factor) {
        co_return fail(ErrorCode::conflict, "this session has its second factor already",
                       {.reason = "ALREADY_VERIFIED"});
    }
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    const auto email = exchange.principal ? std::string() : read_address(in);
    auto code = read_code(in);
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    exchange.actor = domain::audit::address_actor(email);
    CO_TRY_VOID(co_await middleware::take_limits(
        ports.limits, exchange, {k_guess_limit},
        exchange.principal ? exchange.who().user.str() : base::ascii_lower(email)));
    auto session = exchange.principal
                       ? ports.accounts.finish_session(exchange.who(), code, caller_of(exchange))
                       : ports.accounts.finish_registration(email, code, caller_of(exchange));
    CO_TRY(const auto signed_in, co_await std::move(session));
    co_return success(exchange, 200, to_json(signed_in));
}

Task<Result<Response>> request_reset(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    const auto email = read_address(in);
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    exchange.actor = domain::audit::address_actor(email);
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange, {started("diary_reset")},
                                                 base::ascii_lower(email)));
    CO_TRY_VOID(co_await ports.accounts.request_reset(email, caller_of(exchange)));
    co_return success(exchange, 202, {{"status", "reset_requested"}},
                      domain::diary::k_reset_lifetime);
}

Task<Result<Response>> confirm_reset(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    auto token = in.string("token", {1, 256});
    auto password = domain::diary::read_new_password(in, "new_password", {});
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    CO_TRY_VOID(co_await ports.accounts.reset_password(std::move(token), std::move(password),
                                                       caller_of(exchange)));
    co_return success(exchange, 200, {{"status", "password_changed"}});
}

}  // namespace

std::vector<Endpoint> auth_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::post,
         "/api/auth/register",
         "diaryRegister",
         Auth::none,
         with(start_registration),
         {},
         visitor_limits("diary_register")},
        {Method::post,
         "/api/auth/login",
         "diaryLogin",
         Auth::none,
         with(login),
         {},
         visitor_limits("diary_login")},
        {Method::post,
         "/api/auth/otp/verify",
         "diaryVerifyOtp",
         Auth::optional_first_factor,
         with(verify),
         {},
         visitor_limits("diary_code")},
        {Method::post,
         "/api/auth/password/reset/request",
         "diaryRequestPasswordReset",
         Auth::none,
         with(request_reset),
         {},
         visitor_limits("diary_reset")},
        {Method::post,
         "/api/auth/password/reset/confirm",
         "diaryConfirmPasswordReset",
         Auth::none,
         with(confirm_reset),
         {},
         visitor_limits("diary_reset_confirm")},
    };
}

}  // namespace millrace::edge::surfaces::diary
