#include "shared/domain/identity/refresh_tokens.hpp"

#include "shared/base/crypto.hpp"

namespace millrace::domain::identity {

namespace {

using postgres::Statement;

const Statement k_start{"refresh_start", "SELECT start_refresh($1, $2, $3)"};
const Statement k_rotate{
    "refresh_rotate",
    "SELECT outcome, pair, tenant, account, address, lang FROM rotate_refresh($1, $2, $3, $4, $5, "
    "$6)"};
const Statement k_end_once{"refresh_end_session", "SELECT end_session_once($1)"};

std::string hash_of(std::string_view id) {
    return std::string(base::view(base::sha256(id)));
}

constexpr double seconds_of(std::chrono::seconds span) {
    return static_cast<double>(span.count());
}

std::string context_of(const base::Uuid& session, std::string_view hash) {
    return "refresh " + session.str() + " " + base::hex(hash);
}

}  // namespace

RefreshTokens::RefreshTokens(postgres::Database& app, const TokenIssuer& issuer,
                             const std::vector<std::string>& keys)
    : app_(app), issuer_(issuer) {
    for (const auto& key : keys) seal_keys_.push_back(base::derive_key(key, "refresh successors"));
}

RefreshTokens::Made RefreshTokens::make(base::UserId user, const base::Uuid& session,
                                        const std::string& audience, base::WallTime now) const {
    Claims claims{.user = user,
                  .session = session,
                  .audience = audience,
                  .type = "access",
                  .id = base::random_token(16),
                  .issued_at = now,
                  .expires_at = now + k_access_lifetime};
    Made out{
        .pair = {.access = issuer_.issue(claims), .refresh = {}, .expires_in = k_access_lifetime},
        .hash = {}};
    claims.type = "refresh";
    claims.id = base::random_token(32);
    claims.expires_at = now + k_refresh_lifetime;
    out.pair.refresh = issuer_.issue(claims);
    out.hash = hash_of(claims.id);
    return out;
}

RefreshTokens::Started RefreshTokens::start(NewSession session) const {
    session.lifetime = k_refresh_lifetime;
    auto made = make(session.user, session.id, session.audience, std::chrono::system_clock::now());
    Started out{.pair = std::move(made.pair), .calls = {}};
    out.calls.push_back(insert_session(session));
    out.calls.push_back(postgres::call(k_start, session.id, postgres::Bytes{made.hash},
                                       seconds_of(k_refresh_lifetime)));
    return out;
}

Task<Result<RefreshTokens::Rotated>> RefreshTokens::rotate(std::string token,
                                                           Deadline deadline) const {
    const auto now = std::chrono::system_clock::now();
    CO_TRY(const auto claims, issuer_.verify(token, now));
    if (claims.type != "refresh") co_return refuse_credential("it is no refresh token");
    auto next = make(claims.user, claims.session, claims.audience, now);
    const auto old_hash = hash_of(claims.id);
    const auto context = context_of(claims.session, old_hash);
    const auto sealed =
        base::seal(seal_keys_.front(), context, next.pair.access + "\n" + next.pair.refresh);
    CO_TRY(const auto rows,
           co_await app_.run(
               postgres::call(k_rotate, postgres::Bytes{old_hash}, claims.session,
                              postgres::Bytes{next.hash}, postgres::Bytes{sealed},
                              seconds_of(k_refresh_lifetime), seconds_of(k_refresh_grace)),
               deadline));
    const auto row = rows[0];
    const auto outcome = row.get<std::string_view>(0);
    if (outcome == "fresh") co_return Rotated{.pair = std::move(next.pair), .theft = {}};
    if (outcome == "reused") {
        co_return Rotated{.pair = {},
                          .theft = Theft{.session = claims.session,
                                         .tenant = row.get<base::TenantId>(2),
                                         .user = row.get<base::UserId>(3),
                                         .email = row.get<std::string>(4),
                                         .locale = row.get<std::string>(5)}};
    }
    if (outcome == "repeated") {
        for (const auto& key : seal_keys_) {
            const auto pair = base::unseal(key, context, row.get<std::string>(1));
            if (!pair) continue;
            const auto line = pair->find('\n');
            co_return Rotated{.pair = TokenPair{.access = pair->substr(0, line),
                                                .refresh = pair->substr(line + 1),
                                                .expires_in = k_access_lifetime},
                              .theft = {}};
        }
    }
    co_return refuse_credential("its session has ended");
}

postgres::Call RefreshTokens::end_once(const base::Uuid& session) {
    return postgres::call(k_end_once, session);
}

bool RefreshTokens::is_ended_already(const Error& error) {
    return postgres::is_sqlstate(error, "MR002");
}

}  // namespace millrace::domain::identity
