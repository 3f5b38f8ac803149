#pragma once
// Who is calling. Every way in ends in one of these (design §7).

#include <string>

#include "shared/base/uuid.hpp"

namespace millrace::domain::identity {

struct Principal {
    base::TenantId tenant;
    base::UserId user;
    std::string role;      ///< OPERATOR | ADMIN
    std::string audience;  ///< the surface the credential was issued for
    bool is_owner = false;

    /// "Admin" in the knowledge contract: role ADMIN, or the tenant's owner.
    [[nodiscard]] bool is_admin() const noexcept { return is_owner || role == "ADMIN"; }
};

}  // namespace millrace::domain::identity
