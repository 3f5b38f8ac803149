#pragma once
// Sessions, and the one function that turns a credential into a Principal (design §7).

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shared/async/batcher.hpp"
#include "shared/async/one_shot.hpp"
#include "shared/domain/identity/jwt.hpp"
#include "shared/domain/identity/principal.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

struct NewSession {
    base::Uuid id = base::uuid_v7();
    base::TenantId tenant;
    base::UserId user;
    std::string audience;  ///< as Principal::audience
    bool second_factor = true;
    std::string client{};  ///< address and user agent, for its owner to recognise
    std::chrono::seconds lifetime{};
};

/// 256 random bits that a client cannot mistake for anything else: "mrs_…".
[[nodiscard]] std::string make_session_token();

// Statements of a transaction whose tenant is set. `token` empty: JWTs name the session.
[[nodiscard]] postgres::Call insert_session(const NewSession& session, std::string_view token = {});
/// Ends a session whose second factor was missing and puts `full` of the same user in its place,
/// with its client and audience. Touches no row when the former has ended already.
[[nodiscard]] postgres::Call complete_session(const base::Uuid& half, const NewSession& full,
                                              std::string_view token);
/// Those that still wait for their second factor.
[[nodiscard]] postgres::Call revoke_half_sessions(base::UserId user);
/// All devices, but for `spared` (nil: none).
[[nodiscard]] postgres::Call revoke_sessions(base::UserId user, const base::Uuid& spared = {});

/// A session as its owner sees it.
struct SessionView {
    base::Uuid id;
    std::string client;
    base::WallTime created_at, expires_at;
};
/// The live ones with both factors, newest first, at most 100; its rows are read by session_view().
[[nodiscard]] postgres::Call list_sessions(base::UserId user);
[[nodiscard]] SessionView session_view(const postgres::Row& row);

/// Ends one of the caller's own sessions, in a transaction of its own; false when there is none
/// such.
Task<Result<bool>> end_session(postgres::Database& app, Principal who, base::Uuid session,
                               Deadline deadline);

/// Session tokens and JWTs become Principals. What was looked up is trusted for 4 s: then the
/// session, the account and its role are read again, many at once. One thread.
class Credentials {
 public:
    Credentials(async::TaskGroup& tasks, postgres::Database& app, const TokenIssuer& tokens);

    /// The principal of a token that was looked up a moment ago; nullptr: ask resolve(). Valid
    /// until the next call of either.
    [[nodiscard]] const Principal* known(std::string_view token);
    /// `unauthenticated`: not one of ours, expired, revoked, or its owner is not welcome any more.
    Task<Result<Principal>> resolve(std::string token, Deadline deadline);

    static constexpr auto k_trusted = std::chrono::seconds(4);
    static constexpr std::size_t k_kept_max = 16'384;

 private:
    struct Asked {
        std::string token_hash;  ///< of an opaque token, or
        base::Uuid session;      ///< of a JWT
        Deadline deadline;
        async::OneShot<Result<Principal>> done;
    };
    struct Known {
        Principal principal;
        base::SteadyTime until{};
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept {
            return std::hash<std::string_view>{}(text);
        }
    };
    Task<void> look_up(std::vector<Asked> asked);

    Executor executor_;
    postgres::Database& app_;
    const TokenIssuer& tokens_;
    std::unordered_map<std::string, Known, Hash, std::equal_to<>> known_;
    async::Batcher<Asked> batcher_;
};

}  // namespace millrace::domain::identity
