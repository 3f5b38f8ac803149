#pragma once
// JSON Web Tokens, HS256 only (RFC 7519, RFC 8725): the algorithm is ours, never the header's.

#include <chrono>
#include <string>
#include <string_view>

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

 private:
    [[nodiscard]] std::string sign(std::string_view signing_input) const;
    std::string key_;
};

}  // namespace millrace::domain::identity
