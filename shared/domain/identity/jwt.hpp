#pragma once
// JSON Web Tokens, HS256 only (RFC 7519, RFC 8725): the algorithm is ours, never the header's.

#include <string>
#include <string_view>
#include <vector>

#include "shared/base/result.hpp"
#include "shared/base/time.hpp"
#include "shared/base/uuid.hpp"

namespace millrace::domain::identity {

/// What a token says. Who its bearer is today (tenant, role, whether still welcome) stands with the
/// session that it names.
struct Claims {
    base::UserId user;
    base::Uuid session;
    std::string audience;  ///< as Principal::audience
    std::string type;      ///< "access", "refresh" or "session"
    std::string id;        ///< jti
    std::string email{};   ///< only where the product's tokens carry it
    base::WallTime issued_at{}, expires_at{};
};

class TokenIssuer {
 public:
    /// `keys`: at least 32 random bytes each. The first signs; all verify, so that a key can be
    /// replaced without signing anybody out. Clock skew of 60 s is tolerated.
    explicit TokenIssuer(std::vector<std::string> keys);

    [[nodiscard]] std::string issue(const Claims& claims) const;
    /// `unauthenticated` for whatever is wrong; which it was is in Error::log only.
    [[nodiscard]] Result<Claims> verify(std::string_view token, base::WallTime now) const;

 private:
    struct Key {
        std::string id, secret;  ///< `kid`, and what signs
    };
    [[nodiscard]] const Key* key_of(std::string_view encoded_header) const;
    std::vector<Key> keys_;
};

/// The one answer to every credential that does not open: nothing tells why.
[[nodiscard]] std::unexpected<Error> refuse_credential(std::string_view why);

}  // namespace millrace::domain::identity
