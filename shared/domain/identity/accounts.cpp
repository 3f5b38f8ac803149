#include "shared/domain/identity/accounts.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/identity/address.hpp"

namespace millrace::domain::identity {

namespace {

using postgres::Statement;

const Statement k_register{"identity_register",
                           "SELECT tenant, owner FROM register_user($1, $2, $3, $4, $5, $6, $7)"};
const Statement k_find_login{
    "identity_find_login",
    "SELECT user_id, tenant, hash, role, is_owner, is_active FROM find_login('knowledge', $1)"};
const Statement k_find{"identity_find",
                       "SELECT id, tenant_id, email, username, role, is_owner, is_active, "
                       "is_verified FROM users WHERE id = $1"};

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

Result<Registration> decode_registration(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Registration out{.email = in.string("email", {3, 254}),
                     .username = in.string("username", {3, 100}),
                     .password = in.string("password", {8, 1024}),
                     .tenant_name = in.string("tenant_name", {1, 200}),
                     .tenant_domain = base::ascii_lower(in.string("tenant_domain", {3, 253}))};
    if (!is_email(out.email)) in.reject("email", "must be an e-mail address");
    const auto is_word = [](unsigned char c) { return (c < 0x80 && std::isalnum(c)) || c == '_'; };
    if (!std::ranges::all_of(out.username, is_word))
        in.reject("username", "must consist of letters, digits and underscores");
    const auto has = [&out](auto is) {
        return std::ranges::any_of(out.password,
                                   [is](unsigned char c) { return c < 0x80 && is(c); });
    };
    if (!has([](int c) { return std::isupper(c); }) ||
        !has([](int c) { return std::islower(c); }) ||
        !has([](int c) { return std::isdigit(c); })) {
        in.reject("password", "must contain an upper-case letter, a lower-case letter and a digit");
    }
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
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<Account>> Accounts::create(Registration r, Deadline deadline) {
    CO_TRY(const auto hash, co_await passwords_.hash(r.password));
    Account account{.id = base::UserId::make(),
                    .tenant = base::TenantId::make(),
                    .email = r.email,
                    .username = r.username,
                    .role = "OPERATOR"};
    const auto rows =
        co_await app_.run(postgres::call(k_register, account.id, account.tenant, r.email,
                                         r.username, hash, r.tenant_name, r.tenant_domain),
                          deadline);
    const bool raced = !rows && postgres::is_sqlstate(rows.error(), "23505", "users_email");
    if (!rows && !raced) co_return std::unexpected(rows.error());
    if (raced || rows->empty()) {
        co_return fail(ErrorCode::conflict, "this e-mail address is already registered",
                       {.field = "email", .reason = "EMAIL_TAKEN"});
    }
    account.is_owner = (*rows)[0].get<bool>(1);
    co_return account;
}

Task<Result<TokenPair>> Accounts::login(SignIn c, Deadline deadline) {
    CO_TRY(const auto rows, co_await app_.run(postgres::call(k_find_login, c.email), deadline));
    const bool known = !rows.empty() && rows[0].get<bool>(5) && !rows[0].is_null(2);
    const auto hash = known ? std::optional(rows[0].get<std::string>(2)) : std::nullopt;
    CO_TRY(const bool right, co_await passwords_.verify(hash, c.password));
    if (!right) {
        co_return fail(ErrorCode::unauthenticated, "the e-mail address or the password is wrong",
                       {.reason = "INVALID_CREDENTIALS"});
    }
    const auto row = rows[0];
    const NewSession session{.tenant = row.get<base::TenantId>(1),
                             .user = row.get<base::UserId>(0),
                             .audience = "knowledge",
                             .lifetime = k_refresh_lifetime};
    const auto now = std::chrono::system_clock::now();
    Claims claims{.user = session.user,
                  .session = session.id,
                  .audience = session.audience,
                  .type = "access",
                  .id = base::random_token(16),
                  .issued_at = now,
                  .expires_at = now + k_access_lifetime};
    TokenPair pair{.access = tokens_.issue(claims), .refresh = {}, .expires_in = k_access_lifetime};
    claims.type = "refresh";
    claims.id = base::random_token(32);
    claims.expires_at = now + k_refresh_lifetime;
    pair.refresh = tokens_.issue(claims);

    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(session.tenant));
    calls.push_back(insert_session(session));
    CO_TRY_VOID(co_await app_.transaction(std::move(calls), deadline));
    co_return pair;
}

Task<Result<Account>> Accounts::find(Principal principal, Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(principal.tenant));
    calls.push_back(postgres::call(k_find, principal.user));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    if (results[1].empty() || !results[1][0].get<bool>(6)) {
        co_return fail(ErrorCode::unauthenticated, "this account no longer exists");
    }
    const auto row = results[1][0];
    co_return Account{.id = row.get<base::UserId>(0),
                      .tenant = row.get<base::TenantId>(1),
                      .email = row.get<std::string>(2),
                      .username = row.get<std::string>(3),
                      .role = row.get<std::string>(4),
                      .is_owner = row.get<bool>(5),
                      .is_active = row.get<bool>(6),
                      .is_verified = row.get<bool>(7)};
}

}  // namespace millrace::domain::identity
