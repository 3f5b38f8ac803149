#pragma once
// One-time secrets that are mailed: six-digit codes that may be tried a few times, and link tokens.
// Only their HMACs are stored. The newest of its (realm, purpose, subject) supersedes the others.

#include <optional>
#include <string>
#include <string_view>

#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

struct Challenge {
    std::string realm;    ///< knowledge | diary | karte | planner
    std::string purpose;  ///< what the secret is good for, such as "password_reset"
    std::string subject;  ///< whom it is for: a lower-case address, or the id of a user
    std::optional<base::UserId> user{};  ///< nullopt: the account of that address, if there is one
    std::chrono::seconds lifetime{};
    int tries = 5;            ///< of a code
    std::string data = "{}";  ///< JSON that comes back with the right secret
};

/// A secret and the statement that makes it good; put the statement into the transaction that
/// accepts the mail.
struct Opened {
    base::Uuid id;
    std::string secret;
    postgres::Call call;
};

struct Tried {
    enum class Outcome : std::uint8_t {
        right,
        wrong,  ///< `left` more tries
        gone,   ///< none open, expired, or its tries are spent
    } outcome = Outcome::gone;
    int left = 0;
    std::optional<base::UserId> user;
    std::string data;
};

struct Redeemed {
    base::Uuid id;
    std::string realm, subject;
    std::optional<base::UserId> user;
    std::string data;
};

class Challenges {
 public:
    /// `key`: the server's, of which one of its own is derived.
    Challenges(postgres::Database& app, std::string_view key);

    /// Six digits.
    [[nodiscard]] Opened open_code(const Challenge& challenge) const;
    /// 256 bits, for a URL.
    [[nodiscard]] Opened open_link(const Challenge& challenge) const;

    /// Counts the try before it compares; parallel tries stand in a line.
    Task<Result<Tried>> try_code(std::string realm, std::string purpose, std::string subject,
                                 std::string code, Deadline deadline);
    /// The same try as a statement of a transaction that goes on once the code is right; read with
    /// tried(). Commit whatever came out: the try counts.
    [[nodiscard]] postgres::Call try_code_call(std::string_view realm, std::string_view purpose,
                                               std::string_view subject,
                                               std::string_view code) const;
    [[nodiscard]] static Tried tried(const postgres::Rows& rows);

    /// Looks without using it up. nullopt: unknown, expired or used.
    Task<Result<std::optional<Redeemed>>> see_link(std::string purpose, std::string token,
                                                   Deadline deadline);
    /// Uses it up, once, whoever comes first: a statement of a transaction; read with redeemed(),
    /// and roll back when there is none.
    [[nodiscard]] postgres::Call use_link_call(std::string_view purpose,
                                               std::string_view token) const;
    [[nodiscard]] static std::optional<Redeemed> redeemed(const postgres::Rows& rows);

 private:
    [[nodiscard]] std::string code_mac(std::string_view realm, std::string_view purpose,
                                       std::string_view subject, std::string_view code) const;
    [[nodiscard]] std::string link_mac(std::string_view purpose, std::string_view token) const;
    [[nodiscard]] Opened open(const Challenge& challenge, std::string secret,
                              const std::string& mac) const;

    postgres::Database& app_;
    std::string key_;
};

}  // namespace millrace::domain::identity
