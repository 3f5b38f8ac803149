#include "shared/domain/identity/tenants.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "shared/base/utf8.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::identity {

namespace {

using postgres::Statement;

constexpr double k_budget_max = 1e9;  // USD a month

#define MILLRACE_TENANT_COLUMNS                                                               \
    "id, name, coalesce(domain, wanted, '') AS domain, plan, status, settings, key_version, " \
    "created_at"

const Statement k_find{"tenant_find",
                       "SELECT " MILLRACE_TENANT_COLUMNS " FROM tenants WHERE id = $1"};
const Statement k_change{"tenant_change",
                         "UPDATE tenants SET name = coalesce($2, name), settings = settings || $3 "
                         "WHERE id = $1 RETURNING " MILLRACE_TENANT_COLUMNS};
const Statement k_rotate{"tenant_rotate_key",
                         "UPDATE tenants SET key_version = key_version + 1, key_rotated_at = now() "
                         "WHERE id = $1 RETURNING key_version"};
const Statement k_users{"tenant_users", "SELECT " MILLRACE_ACCOUNT_COLUMNS
                                        " FROM users WHERE tenant_id = $1 ORDER BY id"};
const Statement k_change_user{"tenant_change_user", R"sql(
UPDATE users SET role = coalesce($3, role), is_active = coalesce($4, is_active)
 WHERE tenant_id = $1 AND id = $2 AND NOT is_owner RETURNING )sql" MILLRACE_ACCOUNT_COLUMNS};
const Statement k_find_user{"tenant_find_user", "SELECT " MILLRACE_ACCOUNT_COLUMNS
                                                " FROM users WHERE tenant_id = $1 AND id = $2"};
const Statement k_sign_out{"tenant_sign_out", R"sql(
UPDATE sessions s SET revoked_at = now() FROM users u
 WHERE u.id = $1 AND NOT u.is_active AND s.user_id = u.id AND s.revoked_at IS NULL)sql"};
const Statement k_invite{"tenant_invite", "SELECT invite($1, $2, $3, $4, $5, $6)"};
const Statement k_invitations{"tenant_invitations", R"sql(
SELECT id, email, role, CASE WHEN accepted_at IS NOT NULL THEN 'ACCEPTED' WHEN revoked_at IS NOT NULL THEN 'REVOKED'
                             WHEN expires_at <= now() THEN 'EXPIRED' ELSE 'PENDING' END AS status, created_at, expires_at
  FROM invitations WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1000)sql"};
const Statement k_revoke_invitation{"tenant_revoke_invitation", R"sql(
UPDATE invitations SET revoked_at = now()
 WHERE tenant_id = $1 AND id = $2 AND accepted_at IS NULL AND revoked_at IS NULL)sql"};
const Statement k_accept{
    "tenant_accept_invitation",
    "SELECT account, tenant, tenant_name, address, name, role FROM accept_invitation($1, $2, $3, "
    "$4, $5)"};
const Statement k_confirm{"tenant_confirm_address",
                          "SELECT account, address, tenant_name FROM confirm_address($1)"};
const Statement k_join{"tenant_join", "SELECT join_by_address($1)"};

Tenant tenant_of(const postgres::Row& row) {
    return {.id = row.get<base::TenantId>(0),
            .name = row.get<std::string>(1),
            .domain = row.get<std::string>(2),
            .plan = row.get<std::string>(3),
            .status = row.get<std::string>(4),
            .settings = row.get<std::string>(5),
            .key_version = row.get<std::int32_t>(6),
            .created_at = row.get<base::WallTime>(7)};
}

bool is_role(std::string_view text) {
    return text == "OPERATOR" || text == "ADMIN";
}

/// scheme://host[:port], lower case, as browsers write the Origin header.
bool is_origin(std::string_view text) {
    const auto rest = text.starts_with("https://")  ? text.substr(8)
                      : text.starts_with("http://") ? text.substr(7)
                                                    : std::string_view{};
    return !rest.empty() && std::ranges::all_of(rest, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
               c == ':' || c == '[' || c == ']';
    });
}

/// What the functions of 0008_knowledge_accounts.sql say.
Error explained(Error error) {
    if (postgres::is_sqlstate(error, "MR004")) return link_expired().error();
    if (postgres::is_sqlstate(error, "MR005")) {
        return fail(ErrorCode::conflict, "this account belongs to a company already",
                    {.reason = "NOT_PENDING"})
            .error();
    }
    if (is_email_taken(error)) return email_taken().error();
    return error;
}

}  // namespace

std::unexpected<Error> link_expired() {
    return fail(ErrorCode::conflict, "token: this link has expired or was used already",
                {.field = "token", .reason = "LINK_EXPIRED"});
}

Result<Invite> decode_invite(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Invite out{.email = read_email(in), .role = in.optional_string("role").value_or("OPERATOR")};
    if (!is_role(out.role)) in.reject("role", "must be OPERATOR or ADMIN");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<UserChange> decode_user_change(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    UserChange out{.role = in.optional_string("role"),
                   .is_active = in.optional_boolean("is_active")};
    if (out.role && !is_role(*out.role)) in.reject("role", "must be OPERATOR or ADMIN");
    if (!out.role && !out.is_active) in.reject("role", "or is_active is required");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

namespace {

void read_settings(json::Reader& in, const std::vector<std::string>& models, TenantChange& out) {
    if (in.has("allowed_origins")) {
        out.allowed_origins = in.strings("allowed_origins", 50, {8, 300});
        if (!std::ranges::all_of(*out.allowed_origins, is_origin))
            in.reject("allowed_origins",
                      "must be origins in lower case, such as https://www.example.com");
    }
    out.llm_model = in.optional_string("llm_model", {1, 100});
    if (out.llm_model && std::ranges::find(models, *out.llm_model) == models.end())
        in.reject("llm_model", fmt::format("must be one of: {}", fmt::join(models, ", ")));
    out.changes_budget = in.has("monthly_budget_usd") || in.is_null("monthly_budget_usd");
    out.monthly_budget_usd = in.optional_number("monthly_budget_usd", 0, k_budget_max);
}

}  // namespace

Result<TenantChange> decode_tenant_change(std::string_view body,
                                          const std::vector<std::string>& models) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    TenantChange out{.name = in.optional_string("name", {1, 200}), .allowed_origins = {}};
    if (out.name && out.name->find('\0') != std::string::npos)
        in.reject("name", "must not contain NUL");
    if (auto settings = in.optional_object("settings")) read_settings(*settings, models, out);
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<Acceptance> decode_acceptance(std::string_view body, bool new_account) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Acceptance out{.token = in.string("token", {1, 200}), .username = {}, .password = {}};
    if (new_account) {
        out.username = read_username(in);
        out.password = read_password(in);
    }
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<Tenant>> Tenants::find(base::TenantId tenant, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_find, tenant), deadline));
    if (rows.empty()) co_return fail(ErrorCode::not_found, "there is no such tenant");
    co_return tenant_of(rows[0]);
}

Task<Result<Tenant>> Tenants::change(base::TenantId tenant, TenantChange change,
                                     Deadline deadline) {
    json::Object settings;
    if (change.allowed_origins) {
        json::Array origins;
        for (const auto& origin : *change.allowed_origins) origins.emplace_back(origin);
        settings["allowed_origins"] = std::move(origins);
    }
    if (change.llm_model) settings["llm_model"] = *change.llm_model;
    if (change.changes_budget) {
        settings["monthly_budget_usd"] = json::or_null(change.monthly_budget_usd);
    }
    const auto text = json::dump(settings);
    auto call = postgres::call(k_change, tenant, change.name, postgres::Jsonb{text});
    CO_TRY(const auto rows, co_await postgres::in_tenant(app_, tenant, std::move(call), deadline));
    if (rows.empty()) co_return fail(ErrorCode::not_found, "there is no such tenant");
    co_return tenant_of(rows[0]);
}

Task<Result<std::int32_t>> Tenants::rotate_key(base::TenantId tenant, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_rotate, tenant), deadline));
    if (rows.empty()) co_return fail(ErrorCode::not_found, "there is no such tenant");
    co_return rows[0].get<std::int32_t>(0);
}

Task<Result<std::vector<Account>>> Tenants::users(base::TenantId tenant, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_users, tenant), deadline));
    std::vector<Account> out;
    for (std::size_t r = 0; r < rows.size(); ++r) out.push_back(account_of(rows[r]));
    co_return out;
}

Task<Result<Account>> Tenants::change_user(base::TenantId tenant, base::UserId user,
                                           UserChange change, Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_change_user, tenant, user, change.role, change.is_active));
    calls.push_back(postgres::call(k_sign_out, user));
    calls.push_back(postgres::call(k_find_user, tenant, user));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    if (!results[1].empty()) co_return account_of(results[1][0]);
    if (results[3].empty())
        co_return fail(ErrorCode::not_found, "there is no such user in this tenant");
    co_return fail(ErrorCode::forbidden, "the owner of the tenant cannot be changed");
}

postgres::Call Tenants::invite(const base::Uuid& id, const Principal& by, const Invite& invite) {
    return postgres::call(k_invite, id, by.tenant, invite.email, invite.role, by.user,
                          static_cast<double>(std::chrono::seconds(k_invitation_lifetime).count()));
}

Error Tenants::explain_invite(Error error) {
    if (!postgres::is_sqlstate(error, "MR003")) return error;
    return fail(ErrorCode::conflict, "email: belongs to this tenant already",
                {.field = "email", .reason = "ALREADY_A_MEMBER"})
        .error();
}

Task<Result<std::vector<Invitation>>> Tenants::invitations(base::TenantId tenant,
                                                           Deadline deadline) {
    CO_TRY(const auto rows, co_await postgres::in_tenant(
                                app_, tenant, postgres::call(k_invitations, tenant), deadline));
    std::vector<Invitation> out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        out.push_back({.id = row.get<base::Uuid>(0),
                       .email = row.get<std::string>(1),
                       .role = row.get<std::string>(2),
                       .status = row.get<std::string>(3),
                       .created_at = row.get<base::WallTime>(4),
                       .expires_at = row.get<base::WallTime>(5)});
    }
    co_return out;
}

Task<Result<bool>> Tenants::revoke_invitation(base::TenantId tenant, base::Uuid id,
                                              Deadline deadline) {
    CO_TRY(const auto rows,
           co_await postgres::in_tenant(app_, tenant,
                                        postgres::call(k_revoke_invitation, tenant, id), deadline));
    co_return rows.affected() > 0;
}

Task<Result<Tenants::Joined>> Tenants::accept(base::Uuid invitation,
                                              std::optional<base::UserId> existing,
                                              Acceptance acceptance, Deadline deadline) {
    std::string hash;
    if (!existing) {
        CO_TRY(hash, co_await passwords_.hash(acceptance.password));
    }
    const auto rows =
        co_await app_.run(postgres::call(k_accept, invitation, existing, base::UserId::make(),
                                         acceptance.username, hash),
                          deadline);
    if (!rows) co_return std::unexpected(explained(rows.error()));
    const auto row = (*rows)[0];
    co_return Joined{.account = {.id = row.get<base::UserId>(0),
                                 .tenant = row.get<base::TenantId>(1),
                                 .email = row.get<std::string>(3),
                                 .username = row.get<std::string>(4),
                                 .role = row.get<std::string>(5),
                                 .is_verified = true},
                     .tenant_name = row.get<std::string>(2)};
}

Task<Result<std::optional<Tenants::Confirmed>>> Tenants::confirm_address(base::Uuid challenge,
                                                                         Deadline deadline) {
    CO_TRY(const auto rows, co_await app_.run(postgres::call(k_confirm, challenge), deadline));
    if (rows.empty()) co_return std::nullopt;
    co_return Confirmed{.user = rows[0].get<base::UserId>(0),
                        .email = rows[0].get<std::string>(1),
                        .joinable = rows[0].get<std::optional<std::string>>(2)};
}

Task<Result<std::string>> Tenants::join_by_address(base::Uuid challenge, Deadline deadline) {
    const auto rows = co_await app_.run(postgres::call(k_join, challenge), deadline);
    if (!rows) co_return std::unexpected(explained(rows.error()));
    co_return (*rows)[0].get<std::string>(0);
}

}  // namespace millrace::domain::identity
