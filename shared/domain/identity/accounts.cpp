#include "shared/domain/identity/accounts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "shared/base/utf8.hpp"
#include "shared/domain/identity/address.hpp"

namespace millrace::domain::identity {

namespace {

using postgres::Statement;

const Statement k_register{"identity_register",
                           "SELECT tenant, owner FROM register_user($1, $2, $3, $4, $5, $6, $7)"};
const Statement k_count_try{"identity_count_try", "SELECT count_login_try($1, $2)"};
const Statement k_forget_tries{"identity_forget_tries", "SELECT forget_login_tries($1, $2)"};
const Statement k_find_login{"identity_find_login",
                             "SELECT user_id, tenant, hash, is_active FROM find_login($1, $2)"};
const Statement k_find{"identity_find",
                       "SELECT " MILLRACE_ACCOUNT_COLUMNS " FROM find_account($1)"};
const Statement k_reset{"identity_reset_password", "SELECT reset_password($1, $2)"};

bool is_domain(std::string_view text) {
    if (text.size() < 3 || text.size() > 253 || text.find('.') == std::string_view::npos)
        return false;
    std::size_t label = 0;
    char before = '.';
    for (const char c : text) {
        const bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (c == '.' ? (label == 0 || before == '-') : !(alnum || (c == '-' && label > 0)))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63) return false;
        before = c;
    }
    return label > 0 && before != '-';
}

/// Providers of mail for everybody: nobody owns a company by naming one.
bool is_public_mail_domain(std::string_view domain) {
    static constexpr std::array<std::string_view, 16> known = {
        "gmail.com",   "googlemail.com", "outlook.com", "hotmail.com",   "live.com",  "yahoo.com",
        "yahoo.co.jp", "icloud.com",     "me.com",      "aol.com",       "proton.me", "gmx.com",
        "mail.com",    "docomo.ne.jp",   "ezweb.ne.jp", "softbank.ne.jp"};
    return std::ranges::find(known, domain) != known.end();
}

}  // namespace

std::string read_email(json::Reader& in) {
    auto email = in.string("email", {3, 254});
    if (!is_email(email)) in.reject("email", "must be an e-mail address");
    return email;
}

std::string read_username(json::Reader& in) {
    auto username = in.string("username", {3, 100});
    const auto is_word = [](unsigned char c) { return (c < 0x80 && std::isalnum(c)) || c == '_'; };
    if (!std::ranges::all_of(username, is_word))
        in.reject("username", "must consist of letters, digits and underscores");
    return username;
}

std::string read_password(json::Reader& in) {
    auto password = in.string("password", {8, 1024});
    const auto has = [&password](auto is) {
        return std::ranges::any_of(password, [is](unsigned char c) { return c < 0x80 && is(c); });
    };
    if (!has([](int c) { return std::isupper(c); }) ||
        !has([](int c) { return std::islower(c); }) ||
        !has([](int c) { return std::isdigit(c); })) {
        in.reject("password", "must contain an upper-case letter, a lower-case letter and a digit");
    }
    return password;
}

Result<Registration> decode_registration(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Registration out{.email = read_email(in),
                     .username = read_username(in),
                     .password = read_password(in),
                     .tenant_name = in.string("tenant_name", {1, 200}),
                     .tenant_domain = base::ascii_lower(in.string("tenant_domain", {3, 253}))};
    if (out.tenant_name.find('\0') != std::string::npos)
        in.reject("tenant_name", "must not contain NUL");
    if (!is_domain(out.tenant_domain))
        in.reject("tenant_domain", "must be a domain name such as company.example.com");
    if (is_public_mail_domain(out.tenant_domain))
        in.reject("tenant_domain", "must be your organisation's own domain");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<SignIn> decode_sign_in(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    SignIn out{in.string("email", {1, 254}), in.string("password", {1, 1024})};
    if (out.email.find('\0') != std::string::npos) in.reject("email", "must not contain NUL");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Account account_of(const postgres::Row& row) {
    return {.id = row.get<base::UserId>(0),
            .tenant = row.get<base::TenantId>(1),
            .email = row.get<std::string>(2),
            .username = row.get<std::string>(3),
            .role = row.get<std::string>(4),
            .is_owner = row.get<bool>(5),
            .is_active = row.get<bool>(6),
            .is_verified = row.get<bool>(7),
            .created_at = row.get<base::WallTime>(8)};
}

bool is_email_taken(const Error& error) {
    return postgres::is_sqlstate(error, "23505", "users_email");
}

std::unexpected<Error> email_taken() {
    return fail(ErrorCode::conflict, "this e-mail address is already registered",
                {.field = "email", .reason = "EMAIL_TAKEN"});
}

Task<Result<Accounts::Prepared>> Accounts::prepare(Registration r) {
    CO_TRY(const auto hash, co_await passwords_.hash(r.password));
    Account account{.id = base::UserId::make(),
                    .tenant = base::TenantId::make(),
                    .email = r.email,
                    .username = r.username,
                    .role = "OPERATOR"};
    auto call = postgres::call(k_register, account.id, account.tenant, r.email, r.username, hash,
                               r.tenant_name, r.tenant_domain);
    co_return Prepared{std::move(account), std::move(call)};
}

Task<Result<TokenPair>> Accounts::login(SignIn c, std::string client, Deadline deadline) {
    std::vector<postgres::Call> first;
    first.push_back(postgres::call(k_count_try, k_knowledge, c.email));
    first.push_back(postgres::call(k_find_login, k_knowledge, c.email));
    CO_TRY(const auto found, co_await app_.transaction(std::move(first), deadline));
    if (const auto wait = found[0][0].get<double>(0); wait > 0) {
        const auto seconds = std::chrono::seconds(static_cast<std::int64_t>(std::ceil(wait)));
        co_return fail(
            ErrorCode::rate_limited,
            fmt::format("too many tries for this account; wait {} seconds", seconds.count()),
            {.retry_after = seconds});
    }
    const auto& rows = found[1];
    const bool known = !rows.empty() && rows[0].get<bool>(3) && !rows[0].is_null(2);
    const auto hash = known ? std::optional(rows[0].get<std::string>(2)) : std::nullopt;
    CO_TRY(const bool right, co_await passwords_.verify(hash, c.password));
    if (!right) {
        co_return fail(ErrorCode::unauthenticated, "the e-mail address or the password is wrong",
                       {.reason = "INVALID_CREDENTIALS"});
    }
    const auto tenant = rows[0].get<base::TenantId>(1);
    auto started = tokens_.start({.tenant = tenant,
                                  .user = rows[0].get<base::UserId>(0),
                                  .audience = std::string(k_knowledge),
                                  .client = std::move(client)});
    auto calls = std::move(started.calls);
    calls.insert(calls.begin(), postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_forget_tries, k_knowledge, c.email));
    CO_TRY_VOID(co_await app_.transaction(std::move(calls), deadline));
    co_return std::move(started.pair);
}

Task<Result<Account>> Accounts::find(base::UserId user, Deadline deadline) {
    CO_TRY(const auto rows, co_await app_.run(postgres::call(k_find, user), deadline));
    if (rows.empty()) co_return refuse_credential("the account has gone");
    co_return account_of(rows[0]);
}

Task<Result<bool>> Accounts::reset_password(base::Uuid challenge, std::string password,
                                            Deadline deadline) {
    CO_TRY(const auto hash, co_await passwords_.hash(std::move(password)));
    CO_TRY(const auto rows, co_await app_.run(postgres::call(k_reset, challenge, hash), deadline));
    co_return rows[0].get<bool>(0);
}

}  // namespace millrace::domain::identity
