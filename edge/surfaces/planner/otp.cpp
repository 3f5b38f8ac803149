// Contract planner.md, "OTP Service" and "Rate Limiting".

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "edge/surfaces/planner/planner.hpp"
#include "edge/web/page.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/audit/audit.hpp"
#include "shared/domain/identity/address.hpp"
#include "shared/domain/identity/persons.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::planner {

using domain::identity::Tried;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;
using namespace std::chrono_literals;

namespace {

constexpr const char* k_realm = "planner";
constexpr const char* k_login = "login";
constexpr std::array<std::string_view, 4> k_purposes = {"email_verify", "password_reset",
                                                        "invite_accept", k_login};
constexpr std::chrono::seconds k_code_lifetime = 600s;
constexpr int k_code_tries = 5;
constexpr auto k_session_lifetime = std::chrono::days(30);

struct Asked {
    std::string email;  ///< as given
    std::string subject, purpose, code;
};

/// What limits count by, whatever else is wrong with the body.
std::string subject_of(const Result<json::Document>& document) {
    const auto email =
        document ? document->reader().optional_string("email", {0, 254}) : std::nullopt;
    return email && !email->empty() ? base::ascii_lower(*email) : "unknown";
}

/// In the contract's order: what is missing, then the address, then the purpose.
Result<Asked> decode(const json::Document& document, bool with_code) {
    auto in = document.reader();
    const auto email = in.optional_string("email", {0, 254});
    const auto purpose = in.optional_string("purpose", {0, 64});
    const auto code = with_code ? in.optional_string("code", {0, 64}) : "-";
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    std::string missing;
    const auto need = [&missing](std::string_view name, const std::optional<std::string>& value) {
        if (value && !value->empty()) return;
        if (!missing.empty()) missing += ", ";
        missing += name;
    };
    need("email", email);
    need("purpose", purpose);
    need("code", code);
    if (!missing.empty()) {
        return fail(ErrorCode::invalid, "Missing required fields: " + missing,
                    {.field = missing.substr(0, missing.find(','))});
    }
    if (!domain::identity::is_email(*email))
        return fail(ErrorCode::invalid, "email: must be an e-mail address", {.field = "email"});
    if (std::ranges::find(k_purposes, *purpose) == k_purposes.end()) {
        return fail(ErrorCode::invalid,
                    fmt::format("purpose: must be one of {}", fmt::join(k_purposes, ", ")),
                    {.field = "purpose"});
    }
    return Asked{*email, base::ascii_lower(*email), *purpose, *code};
}

Task<Result<Response>> send(Ports ports, Exchange& exchange) {
    const auto document = json::parse(exchange.request.body);
    CO_TRY_VOID(co_await middleware::take_limits(
        ports.limits, exchange, {k_otp_send, k_otp_send_ip}, subject_of(document)));
    if (!document) co_return std::unexpected(document.error());
    CO_TRY(const auto asked, decode(*document, false));
    exchange.actor = domain::audit::address_actor(asked.subject);
    auto opened = ports.challenges.open_code({.realm = k_realm,
                                              .purpose = asked.purpose,
                                              .subject = asked.subject,
                                              .lifetime = k_code_lifetime,
                                              .tries = k_code_tries});
    domain::mail::Letter letter{
        .name = "otp",
        .locale = std::string(web::locale_of(exchange.request)),
        .to = asked.email,
        .data = {{"product", "planner"},
                 {"purpose", asked.purpose},
                 {"minutes",
                  std::chrono::duration_cast<std::chrono::minutes>(k_code_lifetime).count()}},
        .secret = {},
        .challenge = {}};
    CO_TRY_VOID(co_await domain::mail::mail_secret(ports.post, std::move(opened), std::move(letter),
                                                   exchange.trace, exchange.deadline));
    co_return middleware::json_response(
        200, json::dump(json::Object{{"success", true},
                                     {"message", "OTP sent successfully"},
                                     {"expires_in", k_code_lifetime.count()}}));
}

std::unexpected<Error> wrong_code() {
    return fail(ErrorCode::invalid, "Invalid or expired OTP",
                {.field = "code", .reason = "INVALID_OTP"});
}

json::Object right_code() {
    return {{"valid", true}, {"message", "OTP verified successfully"}};
}

/// A right code signs in: planner and habits open to the session.
Task<Result<Response>> sign_in_by(Ports ports, Exchange& exchange, Asked asked) {
    CO_TRY(const auto transaction, co_await ports.app.begin(exchange.deadline));
    CO_TRY(const auto rows,
           co_await transaction->run(
               ports.challenges.try_code_call(k_realm, asked.purpose, asked.subject, asked.code),
               exchange.deadline));
    if (domain::identity::Challenges::tried(rows).outcome != Tried::Outcome::right) {
        CO_TRY_VOID(co_await transaction->commit(exchange.deadline));  // the try counts
        co_return wrong_code();
    }
    const domain::identity::NewSession session{
        .tenant = {},
        .user = {},
        .audience = std::string(domain::identity::k_planner_audience),
        .client = middleware::client_of(exchange),
        .lifetime = k_session_lifetime};
    const domain::identity::NewPerson person{
        .realm = k_realm,
        .address = asked.email,
        .locale = std::string(web::locale_of(exchange.request))};
    const auto token = domain::identity::make_session_token();
    const auto expires_at = std::chrono::system_clock::now() + k_session_lifetime;
    CO_TRY(const auto signed_in,
           co_await sign_in(*transaction, person, session, token, exchange.deadline));
    CO_TRY_VOID(co_await transaction->commit(exchange.deadline));
    auto body = right_code();
    body["session_token"] = token;
    body["expires_at"] = base::rfc3339(expires_at);
    body["user_id"] = signed_in.user.str();
    co_return middleware::json_response(200, json::dump(body));
}

Task<Result<Response>> verify(Ports ports, Exchange& exchange) {
    const auto document = json::parse(exchange.request.body);
    CO_TRY_VOID(co_await middleware::take_limits(ports.limits, exchange, {k_otp_try},
                                                 subject_of(document)));
    if (!document) co_return std::unexpected(document.error());
    CO_TRY(auto asked, decode(*document, true));
    exchange.actor = domain::audit::address_actor(asked.subject);
    if (asked.purpose == k_login) co_return co_await sign_in_by(ports, exchange, std::move(asked));
    CO_TRY(const auto tried,
           co_await ports.challenges.try_code(k_realm, asked.purpose, asked.subject, asked.code,
                                              exchange.deadline));
    if (tried.outcome != Tried::Outcome::right) co_return wrong_code();
    co_return middleware::json_response(200, json::dump(right_code()));
}

}  // namespace

std::vector<Endpoint> otp_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::post, "/api/otp/send", "sendOtp", Auth::none, with(send)},
        {Method::post, "/api/otp/verify", "verifyOtp", Auth::none, with(verify)},
    };
}

}  // namespace millrace::edge::surfaces::planner
