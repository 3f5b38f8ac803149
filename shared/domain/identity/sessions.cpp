#include "shared/domain/identity/sessions.hpp"

#include <algorithm>
#include <map>

#include "shared/base/crypto.hpp"

namespace millrace::domain::identity {

namespace {

using postgres::Statement;

constexpr std::string_view k_token_prefix = "mrs_";
constexpr std::size_t k_token_bytes = 32;

const Statement k_insert{"sessions_insert", R"sql(
INSERT INTO sessions (id, tenant_id, user_id, audience, token_hash, second_factor, client, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)))sql"};
const Statement k_revoke{"sessions_revoke",
                         "UPDATE sessions SET revoked_at = now() WHERE id = $1 AND user_id = $2 "
                         "AND revoked_at IS NULL AND expires_at > now()"};
const Statement k_revoke_all{"sessions_revoke_all",
                             "UPDATE sessions SET revoked_at = now() WHERE user_id = $1 AND id <> "
                             "$2 AND revoked_at IS NULL"};
const Statement k_complete{"sessions_complete", R"sql(
WITH half AS (
    UPDATE sessions SET revoked_at = now()
     WHERE id = $1 AND user_id = $2 AND NOT second_factor AND revoked_at IS NULL AND expires_at > now()
    RETURNING tenant_id, user_id, audience, client)
INSERT INTO sessions (id, tenant_id, user_id, audience, token_hash, second_factor, client, expires_at)
SELECT $3, tenant_id, user_id, audience, $4, true, client, now() + make_interval(secs => $5) FROM half)sql"};
const Statement k_revoke_half{"sessions_revoke_half",
                              "UPDATE sessions SET revoked_at = now() WHERE user_id = $1 AND NOT "
                              "second_factor AND revoked_at IS NULL"};
const Statement k_list{"sessions_list", R"sql(
SELECT id, client, created_at, expires_at FROM sessions
 WHERE user_id = $1 AND second_factor AND revoked_at IS NULL AND expires_at > now() ORDER BY created_at DESC, id LIMIT 100)sql"};
const Statement k_live{"sessions_live", R"sql(
SELECT id, token_hash, tenant, user_id, role, is_owner, audience, second_factor FROM live_sessions($1, $2))sql"};

std::string hash_of(std::string_view token) {
    return std::string(base::view(base::sha256(token)));
}

}  // namespace

std::string make_session_token() {
    return std::string(k_token_prefix) + base::random_token(k_token_bytes);
}

postgres::Call insert_session(const NewSession& session, std::string_view token) {
    const auto hash = token.empty() ? std::string() : hash_of(token);
    const auto stored = token.empty() ? std::nullopt : std::optional(postgres::Bytes{hash});
    return postgres::call(k_insert, session.id, session.tenant, session.user, session.audience,
                          stored, session.second_factor, session.client,
                          static_cast<double>(session.lifetime.count()));
}

postgres::Call revoke_sessions(base::UserId user, const base::Uuid& spared) {
    return postgres::call(k_revoke_all, user, spared);
}

postgres::Call complete_session(const base::Uuid& half, const NewSession& full,
                                std::string_view token) {
    return postgres::call(k_complete, half, full.user, full.id, postgres::Bytes{hash_of(token)},
                          static_cast<double>(full.lifetime.count()));
}

postgres::Call revoke_half_sessions(base::UserId user) {
    return postgres::call(k_revoke_half, user);
}

postgres::Call list_sessions(base::UserId user) {
    return postgres::call(k_list, user);
}

SessionView session_view(const postgres::Row& row) {
    return {.id = row.get<base::Uuid>(0),
            .client = row.get<std::string>(1),
            .created_at = row.get<base::WallTime>(2),
            .expires_at = row.get<base::WallTime>(3)};
}

Task<Result<bool>> end_session(postgres::Database& app, Principal who, base::Uuid session,
                               Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app, who.tenant,
                                        postgres::call(k_revoke, session, who.user), deadline));
    co_return results.affected() > 0;
}

Credentials::Credentials(async::TaskGroup& tasks, postgres::Database& app,
                         const TokenIssuer& tokens)
    : executor_(tasks.executor()),
      app_(app),
      tokens_(tokens),
      batcher_(tasks, "credentials", {},
               [this](std::vector<Asked> asked) { return look_up(std::move(asked)); }) {}

const Principal* Credentials::known(std::string_view token) {
    const auto found = known_.find(token);
    if (found == known_.end()) return nullptr;
    if (std::chrono::steady_clock::now() < found->second.until) return &found->second.principal;
    known_.erase(found);
    return nullptr;
}

Task<Result<Principal>> Credentials::resolve(std::string token, Deadline deadline) {
    async::OneShot<Result<Principal>> done(executor_);
    Asked asked{.token_hash = {}, .session = {}, .deadline = deadline, .done = done};
    std::optional<Claims> said;
    auto until = std::chrono::steady_clock::now() + k_trusted;
    if (token.starts_with(k_token_prefix)) {
        asked.token_hash = hash_of(token);
    } else {
        const auto now = std::chrono::system_clock::now();
        CO_TRY(said, tokens_.verify(token, now));
        const auto& claims = *said;
        if (claims.type == "refresh") co_return refuse_credential("a refresh token opens nothing");
        asked.session = claims.session;
        // Never trusted beyond its own end.
        until = std::min(
            until, std::chrono::steady_clock::now() +
                       std::max(claims.expires_at - now, decltype(claims.expires_at - now){}));
    }
    if (!batcher_.add(std::move(asked))) {
        co_return fail(ErrorCode::unavailable, "too many credentials wait to be looked up",
                       {.retry_after = std::chrono::seconds(1)});
    }
    CO_TRY(auto principal, co_await done.wait());
    if (said && (said->user != principal.user || said->audience != principal.audience))
        co_return refuse_credential("it is not for its session");
    if (known_.size() >= k_kept_max) known_.clear();
    known_.insert_or_assign(std::move(token), Known{principal, until});
    co_return principal;
}

Task<void> Credentials::look_up(std::vector<Asked> asked) {
    std::vector<postgres::Bytes> hashes;
    std::vector<base::Uuid> sessions;
    for (const auto& one : asked) {
        if (one.token_hash.empty()) {
            sessions.push_back(one.session);
        } else {
            hashes.push_back({one.token_hash});
        }
    }
    const auto deadline =
        std::ranges::max(asked, {}, [](const Asked& a) { return a.deadline.when(); }).deadline;
    const auto rows = co_await app_.run(postgres::call(k_live, hashes, sessions), deadline);
    std::map<std::string, Principal, std::less<>> by_hash;
    std::map<base::Uuid, Principal> by_session;
    for (std::size_t r = 0; rows && r < rows->size(); ++r) {
        const auto row = (*rows)[r];
        Principal principal{.tenant = row.get<base::TenantId>(2),
                            .user = row.get<base::UserId>(3),
                            .role = row.get<std::string>(4),
                            .audience = row.get<std::string>(6),
                            .is_owner = row.get<bool>(5),
                            .session = row.get<base::Uuid>(0),
                            .second_factor = row.get<bool>(7)};
        if (!row.is_null(1)) {
            by_hash.emplace(row.get<std::string>(1), std::move(principal));
        } else {  // an id is no secret: it opens only sessions that JWTs name
            by_session.emplace(principal.session, std::move(principal));
        }
    }
    for (auto& one : asked) {
        if (!rows) {
            one.done.set(std::unexpected(rows.error()));
            continue;
        }
        const Principal* found = nullptr;
        if (one.token_hash.empty()) {
            const auto at = by_session.find(one.session);
            if (at != by_session.end()) found = &at->second;
        } else {
            const auto at = by_hash.find(one.token_hash);
            if (at != by_hash.end()) found = &at->second;
        }
        one.done.set(found ? Result<Principal>(*found) : refuse_credential("no live session"));
    }
}

}  // namespace millrace::domain::identity
