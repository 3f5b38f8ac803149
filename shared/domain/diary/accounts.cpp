#include "shared/domain/diary/accounts.hpp"

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/identity/address.hpp"

namespace millrace::domain::diary {

namespace {

using identity::Challenge;
using identity::NewSession;
using identity::Principal;
using identity::Tried;
using postgres::Statement;

constexpr std::string_view k_register = "register";
constexpr std::string_view k_login = "login";
constexpr std::string_view k_reset = "diary_password_reset";

const Statement k_find_login{
    "diary_find_login",
    "SELECT user_id, tenant, hash, is_active, email, locale FROM find_login('diary', $1)"};
const Statement k_ensure{"diary_ensure_person",
                         "SELECT made FROM ensure_person('diary', $1, $2, $3, $4, true)"};
const Statement k_furnish{"diary_furnish",
                          "UPDATE users SET password_hash = $2, profile = $3 WHERE id = $1"};
const Statement k_has_totp{
    "diary_has_totp",
    "SELECT EXISTS (SELECT FROM totp_devices WHERE user_id = $1 AND confirmed_at IS NOT NULL)"};
const Statement k_tenant{"diary_tenant", "SELECT tenant_of_user($1)"};
const Statement k_set_password{"diary_set_password",
                               "UPDATE users SET password_hash = $2 WHERE id = $1"};
const Statement k_secret{"diary_secret",
                         "SELECT email, locale, password_hash FROM users WHERE id = $1"};
const Statement k_find{"diary_find", R"sql(
SELECT email, profile::text, created_at,
       EXISTS (SELECT FROM totp_devices d WHERE d.user_id = u.id AND d.confirmed_at IS NOT NULL)
  FROM users u WHERE u.id = $1)sql"};
const Statement k_change{"diary_change", "UPDATE users SET profile = $2 WHERE id = $1"};
const Statement k_erase{"diary_erase", "SELECT done FROM erase_own_person($1)"};

std::int64_t minutes(std::chrono::minutes span) {
    return span.count();
}

std::unexpected<Error> account_gone() {
    return fail(ErrorCode::unauthenticated, "this account no longer exists");
}

std::unexpected<Error> refuse_reset() {
    return fail(ErrorCode::invalid, "token: is wrong or not good any more",
                {.field = "token", .reason = "RESET_TOKEN_INVALID"});
}

/// What a registration's code brings back.
struct Kept {
    std::string email, locale, hash, profile;
};

std::string to_json(const Registration& r, const std::string& hash) {
    return json::dump(json::Object{{"email", r.email},
                                   {"locale", r.locale},
                                   {"password_hash", hash},
                                   {"profile", to_json(r.profile)}});
}

Result<Kept> parse_kept(std::string_view text) {
    TRY(const auto document, json::parse(text));
    auto in = document.reader();
    Kept out{in.string("email"), in.string("locale"), in.string("password_hash"),
             in.raw("profile")};
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

mail::Letter letter(std::string name, std::string locale, std::string to, json::Object data) {
    data["product"] = "diary";
    return {.name = std::move(name),
            .locale = std::move(locale),
            .to = std::move(to),
            .data = std::move(data),
            .secret = {},
            .challenge = {}};
}

Session session_of(const NewSession& session, std::string token) {
    return {.user = session.user,
            .id = session.id,
            .token = std::move(token),
            .expires_at = std::chrono::system_clock::now() + session.lifetime};
}

}  // namespace

Result<Registration> decode_registration(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Registration out{.email = in.string("email", {3, 254}),
                     .password = {},
                     .locale = in.optional_string("locale", {2, 2}).value_or("ja"),
                     .profile = {}};
    if (!identity::is_email(out.email)) in.reject("email", "must be an e-mail address");
    if (out.locale != "ja" && out.locale != "en") in.reject("locale", "must be ja or en");
    out.password = read_new_password(in, "password", out.email);
    if (auto profile = in.optional_object("profile")) out.profile = read_profile(*profile);
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<void>> Accounts::start_registration(Registration r, Caller caller) {
    const auto& p = ports_;
    const auto deadline = caller.deadline;
    CO_TRY(const auto known,
           co_await p.post.app.run(postgres::call(k_find_login, r.email), deadline));
    CO_TRY(const auto hash, co_await p.passwords.hash(r.password));
    auto code = p.challenges.open_code({.realm = std::string(k_realm),
                                        .purpose = std::string(k_register),
                                        .subject = base::ascii_lower(r.email),
                                        .lifetime = k_code_lifetime,
                                        .data = to_json(r, hash)});
    auto mail = letter("otp", r.locale, r.email,
                       {{"purpose", k_register}, {"minutes", minutes(k_code_lifetime)}});
    if (known.empty()) {
        mail.secret = code.secret;
        mail.challenge = code.id;
    } else {
        mail = letter("already_registered", known[0].get<std::string>(5), r.email,
                      {{"login_url", p.public_url}});
    }
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(code.call));
    CO_TRY_VOID(co_await mail::post_letter(p.post, std::move(mail), std::move(calls), caller.trace,
                                           deadline));
    co_return Result<void>{};
}

Task<Result<Session>> Accounts::finish_registration(std::string email, std::string code,
                                                    Caller caller) {
    const auto& p = ports_;
    CO_TRY(const auto tried,
           co_await p.challenges.try_code(std::string(k_realm), std::string(k_register),
                                          base::ascii_lower(email), code, caller.deadline));
    if (tried.outcome != Tried::Outcome::right) co_return refuse_code();
    CO_TRY(const auto kept, parse_kept(tried.data));
    const NewSession session{.tenant = base::TenantId::make(),
                             .user = base::UserId::make(),
                             .audience = std::string(k_realm),
                             .client = caller.client,
                             .lifetime = k_session_lifetime};
    auto token = identity::make_session_token();
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(session.tenant));
    calls.push_back(
        postgres::call(k_ensure, kept.email, session.user, session.tenant, kept.locale));
    calls.push_back(
        postgres::call(k_furnish, session.user, kept.hash, postgres::Jsonb{kept.profile}));
    calls.push_back(identity::insert_session(session, token));
    const auto made = co_await p.post.app.transaction(std::move(calls), caller.deadline);
    // The address has got an account since: the session would be nobody's, and all is rolled back.
    if (!made && postgres::is_sqlstate(made.error(), "23503")) co_return refuse_code();
    if (!made) co_return std::unexpected(made.error());
    co_return session_of(session, std::move(token));
}

Task<Result<Known>> Accounts::check_password(std::string email, std::string password,
                                             Deadline deadline) {
    CO_TRY(const auto rows,
           co_await ports_.post.app.run(postgres::call(k_find_login, email), deadline));
    const bool known = !rows.empty() && rows[0].get<bool>(3) && !rows[0].is_null(2);
    const auto hash = known ? std::optional(rows[0].get<std::string>(2)) : std::nullopt;
    CO_TRY(const bool right, co_await ports_.passwords.verify(hash, std::move(password)));
    if (!right) {
        co_return fail(ErrorCode::unauthenticated, "the e-mail address or the password is wrong",
                       {.reason = "INVALID_CREDENTIALS"});
    }
    const auto row = rows[0];
    co_return Known{.user = row.get<base::UserId>(0),
                    .tenant = row.get<base::TenantId>(1),
                    .email = row.get<std::string>(4),
                    .locale = row.get<std::string>(5)};
}

Task<Result<Session>> Accounts::start_session(Known known, Caller caller) {
    const auto& p = ports_;
    const NewSession half{.tenant = known.tenant,
                          .user = known.user,
                          .audience = std::string(k_realm),
                          .second_factor = false,
                          .client = caller.client,
                          .lifetime = k_code_lifetime};
    auto token = identity::make_session_token();
    auto code = p.challenges.open_code({.realm = std::string(k_realm),
                                        .purpose = std::string(k_login),
                                        .subject = known.user.str(),
                                        .user = known.user,
                                        .lifetime = k_code_lifetime});
    auto mail = letter("otp", known.locale, known.email,
                       {{"purpose", k_login}, {"minutes", minutes(k_code_lifetime)}});
    mail.secret = code.secret;
    mail.challenge = code.id;
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(code.call));
    calls.push_back(identity::revoke_half_sessions(known.user));
    calls.push_back(identity::insert_session(half, token));
    calls.push_back(postgres::call(k_has_totp, known.user));
    CO_TRY(const auto results,
           co_await mail::post_letter(p.post, std::move(mail), std::move(calls), caller.trace,
                                      caller.deadline, known.tenant, known.user));
    auto out = session_of(half, std::move(token));
    out.has_totp = results[3][0].get<bool>(0);
    co_return out;
}

Task<Result<Session>> Accounts::finish_session(Principal half, std::string code, Caller caller) {
    const auto& p = ports_;
    CO_TRY(bool right, co_await p.devices.accept(half, code, caller.deadline));
    if (!right) {
        CO_TRY(const auto tried,
               co_await p.challenges.try_code(std::string(k_realm), std::string(k_login),
                                              half.user.str(), code, caller.deadline));
        right = tried.outcome == Tried::Outcome::right;
    }
    if (!right) co_return refuse_code();
    const NewSession full{.tenant = half.tenant,
                          .user = half.user,
                          .audience = std::string(k_realm),
                          .lifetime = k_session_lifetime};
    auto token = identity::make_session_token();
    CO_TRY(const auto completed,
           co_await postgres::in_tenant(p.post.app, half.tenant,
                                        identity::complete_session(half.session, full, token),
                                        caller.deadline));
    if (completed.affected() == 0)
        co_return identity::refuse_credential("the half session has ended");
    co_return session_of(full, std::move(token));
}

Task<Result<void>> Accounts::request_reset(std::string email, Caller caller) {
    const auto& p = ports_;
    CO_TRY(const auto known,
           co_await p.post.app.run(postgres::call(k_find_login, email), caller.deadline));
    auto link = p.challenges.open_link({.realm = std::string(k_realm),
                                        .purpose = std::string(k_reset),
                                        .subject = base::ascii_lower(email),
                                        .lifetime = k_reset_lifetime});
    auto mail = letter("password_reset", known.empty() ? "ja" : known[0].get<std::string>(5), email,
                       {// a fragment: no server is sent it, no log has it
                        {"url_prefix", p.public_url + "/reset-password#token="},
                        {"minutes", minutes(k_reset_lifetime)}});
    mail.needs_account = true;
    co_return co_await mail::mail_secret(p.post, std::move(link), std::move(mail), caller.trace,
                                         caller.deadline);
}

Task<Result<void>> Accounts::reset_password(std::string token, std::string password,
                                            Caller caller) {
    const auto& p = ports_;
    const auto deadline = caller.deadline;
    CO_TRY(const auto link, co_await p.challenges.see_link(std::string(k_reset), token, deadline));
    if (!link || !link->user) co_return refuse_reset();
    const auto user = *link->user;
    CO_TRY(const auto tenants, co_await p.post.app.run(postgres::call(k_tenant, user), deadline));
    if (tenants[0].is_null(0)) co_return refuse_reset();
    const auto tenant = tenants[0].get<base::TenantId>(0);
    CO_TRY(const auto rows, co_await postgres::in_tenant(p.post.app, tenant,
                                                         postgres::call(k_secret, user), deadline));
    if (rows.empty()) co_return refuse_reset();
    const auto email = rows[0].get<std::string>(0);
    if (is_address(password, email)) {
        co_return fail(ErrorCode::invalid, "new_password: must not be your e-mail address",
                       {.field = "new_password"});
    }
    CO_TRY(const auto hash, co_await p.passwords.hash(std::move(password)));
    std::vector<postgres::Call> calls;
    calls.push_back(p.challenges.use_link_call(k_reset, token));
    calls.push_back(postgres::call(k_set_password, user, hash));
    calls.push_back(identity::revoke_sessions(user));
    auto notice = make_notice(p.post, "password_reset", email, rows[0].get<std::string>(1),
                              caller.trace, tenant, user);
    CO_TRY(const bool done, co_await jobs::accept_if(p.post.app, p.post.publisher, std::move(calls),
                                                     std::move(notice), deadline));
    if (!done) co_return refuse_reset();
    co_return Result<void>{};
}

Task<Result<Account>> Accounts::find(Principal who, Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(ports_.post.app, who.tenant,
                                        postgres::call(k_find, who.user), deadline));
    if (results.empty()) co_return account_gone();
    const auto row = results[0];
    CO_TRY(auto profile, decode_profile(row.get<std::string_view>(1)));
    co_return Account{.id = who.user,
                      .email = row.get<std::string>(0),
                      .profile = std::move(profile),
                      .created_at = row.get<base::WallTime>(2),
                      .has_totp = row.get<bool>(3)};
}

Task<Result<Account>> Accounts::change(Principal who, Profile profile, Deadline deadline) {
    const auto text = json::dump(to_json(profile));
    CO_TRY_VOID(co_await postgres::in_tenant(
        ports_.post.app, who.tenant, postgres::call(k_change, who.user, postgres::Jsonb{text}),
        deadline));
    co_return co_await find(std::move(who), deadline);
}

Task<Result<void>> Accounts::erase(Principal who, std::string password, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await postgres::in_tenant(ports_.post.app, who.tenant,
                                        postgres::call(k_secret, who.user), deadline));
    if (rows.empty()) co_return account_gone();
    CO_TRY(const bool right, co_await ports_.passwords.verify(
                                 rows[0].get<std::optional<std::string>>(2), std::move(password)));
    if (!right) {
        co_return fail(ErrorCode::forbidden, "password: is wrong",
                       {.field = "password", .reason = "INVALID_CREDENTIALS"});
    }
    CO_TRY_VOID(co_await postgres::in_tenant(ports_.post.app, who.tenant,
                                             postgres::call(k_erase, who.user), deadline));
    co_return Result<void>{};
}

}  // namespace millrace::domain::diary
