#include "shared/domain/diary/totp_devices.hpp"

#include <fmt/format.h>

#include "shared/base/crypto.hpp"
#include "shared/domain/identity/jwt.hpp"
#include "shared/domain/identity/totp.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::domain::diary {

namespace totp = identity::totp;

namespace {

using postgres::Statement;

constexpr std::string_view k_issuer = "Kuden";

const Statement k_add{"totp_add", R"sql(
INSERT INTO totp_devices (id, tenant_id, user_id, secret) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE SET id = excluded.id, secret = excluded.secret, created_at = now(), last_step = 0
 WHERE totp_devices.confirmed_at IS NULL)sql"};
const Statement k_find{"totp_find", R"sql(
SELECT d.id, d.secret, d.confirmed_at IS NOT NULL, d.created_at <= now() - make_interval(secs => $2), u.email, u.locale
  FROM totp_devices d JOIN users u ON u.id = d.user_id WHERE d.user_id = $1)sql"};
const Statement k_email{"totp_email", "SELECT email FROM users WHERE id = $1"};
const Statement k_confirm{"totp_confirm",
                          "UPDATE totp_devices SET confirmed_at = now(), last_step = $2 WHERE id = "
                          "$1 AND confirmed_at IS NULL AND last_step < $2"};
const Statement k_accept{
    "totp_accept",
    "UPDATE totp_devices SET last_step = $2 WHERE id = $1 AND confirmed_at IS NOT NULL AND "
    "last_step < $2"};
const Statement k_remove{
    "totp_remove",
    "DELETE FROM totp_devices WHERE id = $1 AND confirmed_at IS NOT NULL AND last_step < $2"};

std::string context_of(base::UserId user, const base::Uuid& device) {
    return fmt::format("totp_devices.secret {} {}", user.str(), device.str());
}

std::unexpected<Error> no_device() {
    return fail(ErrorCode::not_found, "there is no authenticator app to do this with",
                {.reason = "TOTP_NOT_FOUND"});
}

}  // namespace

jobs::NewJob make_notice(const mail::Post& post, std::string_view what, const std::string& to,
                         const std::string& locale, telemetry::TraceContext trace,
                         base::TenantId tenant, base::UserId user) {
    mail::Letter letter{.name = "security_notice",
                        .locale = locale,
                        .to = to,
                        .data = {{"product", "diary"},
                                 {"what", what},
                                 {"when", base::rfc3339(std::chrono::system_clock::now())}},
                        .secret = {},
                        .challenge = {}};
    return mail::make_job(letter, post.catalog, post.key, trace, tenant, user);
}

std::unexpected<Error> refuse_code() {
    return fail(ErrorCode::invalid, "code: is wrong or not good any more",
                {.field = "code", .reason = "OTP_INVALID"});
}

TotpDevices::TotpDevices(mail::Post post, const std::vector<std::string>& keys) : post_(post) {
    for (const auto& key : keys) keys_.push_back(base::derive_key(key, "totp secrets"));
}

std::optional<std::string> TotpDevices::unseal(base::UserId user, const base::Uuid& device,
                                               std::string_view sealed) const {
    for (const auto& key : keys_) {
        if (auto secret = base::unseal(key, context_of(user, device), sealed)) return secret;
    }
    return std::nullopt;
}

Task<Result<TotpDevices::Added>> TotpDevices::add(identity::Principal who, Deadline deadline) {
    std::string secret(totp::k_secret_bytes, '\0');
    base::random_fill(reinterpret_cast<std::uint8_t*>(secret.data()), secret.size());
    const auto id = base::uuid_v7();
    const auto sealed = base::seal(keys_.front(), context_of(who.user, id), secret);
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(who.tenant));
    calls.push_back(postgres::call(k_email, who.user));
    calls.push_back(postgres::call(k_add, id, who.tenant, who.user, postgres::Bytes{sealed}));
    const auto results = co_await post_.app.transaction(std::move(calls), deadline);
    if (!results && postgres::is_sqlstate(results.error(), "23503"))
        co_return identity::refuse_credential("the account is gone");
    if (!results) co_return std::unexpected(results.error());
    if ((*results)[2].affected() == 0) {
        co_return fail(ErrorCode::conflict,
                       "there is an authenticator app already: delete it first",
                       {.reason = "TOTP_EXISTS"});
    }
    const auto email = (*results)[1][0].get<std::string>(0);
    co_return Added{totp::base32(secret), totp::provisioning_uri(k_issuer, email, secret)};
}

Task<Result<std::optional<TotpDevices::Device>>> TotpDevices::find(identity::Principal who,
                                                                   Deadline deadline) {
    const auto pending = std::chrono::duration<double>(k_totp_pending).count();
    CO_TRY(const auto rows,
           co_await postgres::in_tenant(post_.app, who.tenant,
                                        postgres::call(k_find, who.user, pending), deadline));
    if (rows.empty()) co_return std::nullopt;
    const auto row = rows[0];
    const auto id = row.get<base::Uuid>(0);
    auto secret = unseal(who.user, id, row.get<std::string_view>(1));
    if (!secret) {  // no code of it is right any more; mailed codes go on working
        telemetry::log::error("a TOTP secret was sealed with a key that is not ours any more",
                              {{"device", id.str()}});
        secret = base::random_token();
    }
    co_return Device{.id = id,
                     .secret = std::move(*secret),
                     .email = row.get<std::string>(4),
                     .locale = row.get<std::string>(5),
                     .confirmed = row.get<bool>(2),
                     .stale = row.get<bool>(3)};
}

Task<Result<void>> TotpDevices::confirm(identity::Principal who, std::string code,
                                        telemetry::TraceContext trace, Deadline deadline) {
    CO_TRY(const auto device, co_await find(who, deadline));
    if (device && device->confirmed) {
        co_return fail(ErrorCode::conflict, "this authenticator app is confirmed already",
                       {.reason = "TOTP_EXISTS"});
    }
    if (!device || device->stale) co_return no_device();
    const auto step = totp::step_of(device->secret, code, std::chrono::system_clock::now());
    if (!step) co_return refuse_code();
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_confirm, device->id, *step));
    CO_TRY(const bool done,
           co_await jobs::accept_if(post_.app, post_.publisher, std::move(calls),
                                    make_notice(post_, "totp_added", device->email, device->locale,
                                                trace, who.tenant, who.user),
                                    deadline));
    if (!done) co_return refuse_code();
    co_return Result<void>{};
}

Task<Result<void>> TotpDevices::remove(identity::Principal who, std::string code,
                                       telemetry::TraceContext trace, Deadline deadline) {
    CO_TRY(const auto device, co_await find(who, deadline));
    if (!device || !device->confirmed) co_return no_device();
    const auto step = totp::step_of(device->secret, code, std::chrono::system_clock::now());
    if (!step) co_return refuse_code();
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_remove, device->id, *step));
    CO_TRY(const bool done,
           co_await jobs::accept_if(post_.app, post_.publisher, std::move(calls),
                                    make_notice(post_, "totp_removed", device->email,
                                                device->locale, trace, who.tenant, who.user),
                                    deadline));
    if (!done) co_return refuse_code();
    co_return Result<void>{};
}

Task<Result<bool>> TotpDevices::accept(identity::Principal who, std::string code,
                                       Deadline deadline) {
    CO_TRY(const auto device, co_await find(who, deadline));
    if (!device || !device->confirmed) co_return false;
    const auto step = totp::step_of(device->secret, code, std::chrono::system_clock::now());
    if (!step) co_return false;
    CO_TRY(const auto results,
           co_await postgres::in_tenant(post_.app, who.tenant,
                                        postgres::call(k_accept, device->id, *step), deadline));
    co_return results.affected() == 1;
}

}  // namespace millrace::domain::diary
