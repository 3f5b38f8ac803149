#pragma once
// JSON Web Tokens, HS256 only (RFC 7519, RFC 8725): the algorithm is ours, never the header's.

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "shared/base/result.hpp"
#include "shared/base/time.hpp"
#include "shared/domain/identity/principal.hpp"

namespace millrace::domain::identity {

struct Claims {
    Principal principal;
    std::string type;  ///< "access" or "refresh"
    std::string id;    ///< jti
    base::WallTime issued_at{}, expires_at{};
};

class TokenIssuer {
 public:
    /// `key`: at least 32 random bytes. Clock skew of 60 s is tolerated.
    explicit TokenIssuer(std::string key);

    [[nodiscard]] std::string issue(const Claims& claims) const;
    /// `unauthenticated` for whatever is wrong; which it was is in Error::log only.
    [[nodiscard]] Result<Claims> verify(std::string_view token, std::string_view type,
                                        base::WallTime now) const;
    /// Whether what was verified once has expired meanwhile.
    [[nodiscard]] static Result<void> check_expiry(const Claims& claims, base::WallTime now);

 private:
    [[nodiscard]] std::string sign(std::string_view signing_input) const;
    std::string key_;
};

/// Remembers access tokens that have been verified, so that a client's second request costs a
/// look-up. Whoever hits an entry has presented the whole token; times are checked each time. One
/// thread.
class AccessTokens {
 public:
    explicit AccessTokens(const TokenIssuer& issuer) : issuer_(issuer) {}

    /// As TokenIssuer::verify(token, "access", now).
    Result<Claims> verify(std::string_view token, base::WallTime now);

    static constexpr std::size_t k_kept_max = 4096;

 private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept {
            return std::hash<std::string_view>{}(text);
        }
    };
    const TokenIssuer& issuer_;
    std::unordered_map<std::string, Claims, Hash, std::equal_to<>> kept_;
};

}  // namespace millrace::domain::identity
