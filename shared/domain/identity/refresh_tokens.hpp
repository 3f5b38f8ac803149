#pragma once
// Pairs of an access and a refresh JWT (contract knowledge.md §2.2). A refresh token is good once
// and has one successor: whoever shows it again soon, in parallel or because an answer was lost,
// gets the same pair; whoever shows it later ends the session [S4].

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/identity/sessions.hpp"

namespace millrace::domain::identity {

inline constexpr auto k_access_lifetime = std::chrono::minutes(30);
inline constexpr auto k_refresh_lifetime = std::chrono::days(7);
inline constexpr auto k_refresh_grace = std::chrono::seconds(10);

struct TokenPair {
    std::string access, refresh;
    std::chrono::seconds expires_in{};
};

class RefreshTokens {
 public:
    /// `keys`: the server's, the current one first; successors are sealed with it.
    RefreshTokens(postgres::Database& app, const TokenIssuer& issuer,
                  const std::vector<std::string>& keys);

    /// The first pair of a session, and the statements of its tenant that make the session.
    struct Started {
        TokenPair pair;
        std::vector<postgres::Call> calls;
    };
    [[nodiscard]] Started start(NewSession session) const;

    /// A spent token that came back too late: thief and owner both hold it.
    struct Theft {
        base::Uuid session;
        base::TenantId tenant;
        base::UserId user;
        std::string email, locale;
    };
    struct Rotated {
        std::optional<TokenPair> pair;
        std::optional<Theft> theft;  ///< instead; the session is still to be ended
    };
    /// `unauthenticated`: no refresh token of ours, or its session has ended.
    Task<Result<Rotated>> rotate(std::string token, Deadline deadline) const;

    /// In a transaction of the session's tenant; fails when it has ended already, so that what is
    /// told with it is told once: is_ended_already().
    [[nodiscard]] static postgres::Call end_once(const base::Uuid& session);
    [[nodiscard]] static bool is_ended_already(const Error& error);

 private:
    struct Made {
        TokenPair pair;
        std::string hash;  ///< of the refresh token's id
    };
    [[nodiscard]] Made make(base::UserId user, const base::Uuid& session,
                            const std::string& audience, base::WallTime now) const;

    postgres::Database& app_;
    const TokenIssuer& issuer_;
    std::vector<std::string> seal_keys_;
};

}  // namespace millrace::domain::identity
