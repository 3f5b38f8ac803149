// プロフィール/設定: the profile, the authenticator app, the end of the account.

#include "edge/surfaces/diary/diary.hpp"
#include "edge/surfaces/diary/qr_code.hpp"

namespace millrace::edge::surfaces::diary {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

json::Object account_json(const domain::diary::Account& account) {
    auto out = domain::diary::to_json(account.profile);
    out["user_id"] = account.id.str();
    out["email"] = account.email;
    out["totp_enabled"] = account.has_totp;
    out["created_at"] = base::rfc3339(account.created_at);
    return out;
}

Task<Result<Response>> read(Ports ports, Exchange& exchange) {
    CO_TRY(const auto account, co_await ports.accounts.find(exchange.who(), exchange.deadline));
    co_return success(exchange, 200, account_json(account));
}

Task<Result<Response>> change(Ports ports, Exchange& exchange) {
    CO_TRY(auto profile, domain::diary::decode_profile(exchange.request.body));
    CO_TRY(const auto account,
           co_await ports.accounts.change(exchange.who(), std::move(profile), exchange.deadline));
    co_return success(exchange, 200, account_json(account));
}

Task<Result<Response>> erase(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    auto password = in.string("password", {1, 1024});
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange, {k_password_limit},
                                                 exchange.who().user.str()));
    CO_TRY_VOID(
        co_await ports.accounts.erase(exchange.who(), std::move(password), exchange.deadline));
    co_return success(exchange, 200, {{"status", "deleted"}});
}

Task<Result<Response>> register_totp(Ports ports, Exchange& exchange) {
    CO_TRY(const auto added, co_await ports.devices.add(exchange.who(), exchange.deadline));
    co_return success(exchange, 201,
                      {{"status", "pending"},
                       {"secret", added.secret},
                       {"otpauth_uri", added.uri},
                       {"qr_code", qr_code_uri(added.uri)}},
                      domain::diary::k_totp_pending);
}

Task<Result<Response>> change_totp(Ports ports, Exchange& exchange) {
    CO_TRY(const auto document, json::parse(exchange.request.body));
    auto in = document.reader();
    const auto action = in.string("action", {1, 16});
    if (action != "register" && action != "confirm" && action != "delete")
        in.reject("action", "must be register, confirm or delete");
    auto code = action == "register" ? std::string() : read_code(in);
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    if (action == "register") co_return co_await register_totp(ports, exchange);
    const auto& who = exchange.who();
    CO_TRY_VOID(
        co_await middleware::take_limits(ports.limits, exchange, {k_guess_limit}, who.user.str()));
    if (action == "confirm") {
        CO_TRY_VOID(co_await ports.devices.confirm(who, std::move(code), exchange.trace,
                                                   exchange.deadline));
        co_return success(exchange, 200, {{"status", "enabled"}});
    }
    CO_TRY_VOID(
        co_await ports.devices.remove(who, std::move(code), exchange.trace, exchange.deadline));
    co_return success(exchange, 200, {{"status", "deleted"}});
}

}  // namespace

std::vector<Endpoint> profile_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    std::vector<Endpoint> out = {
        {Method::get, "/api/profile", "diaryProfile", Auth::bearer, with(read)},
        {Method::put, "/api/profile", "diaryChangeProfile", Auth::bearer, with(change)},
        {Method::del, "/api/profile", "diaryDeleteAccount", Auth::bearer, with(erase)},
        {Method::post, "/api/profile/totp", "diaryTotp", Auth::bearer, with(change_totp)},
    };
    for (auto& endpoint : out) endpoint.limits = member_limits();
    return out;
}

}  // namespace millrace::edge::surfaces::diary
