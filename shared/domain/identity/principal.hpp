#pragma once
// Who is calling. Every way in ends in one of these (design §7).

#include <string>
#include <string_view>

#include "shared/base/uuid.hpp"

namespace millrace::domain::identity {

struct Principal {
    base::TenantId tenant;
    base::UserId user;
    std::string role;  ///< OPERATOR | USER | ADMIN | SUPER_ADMIN, or WIDGET: a tenant's visitors
    std::string audience;  ///< the surfaces it opens, separated by spaces
    bool is_owner = false;
    base::Uuid session{};  ///< nil: not signed in by a session
    /// False while only the password was right.
    bool second_factor = true;
    std::string alias{};  ///< of a development user: the id that answers call it by

    /// `user_id` in answers.
    [[nodiscard]] std::string user_id() const { return alias.empty() ? user.str() : alias; }
    /// "Admin" in the knowledge contract: role ADMIN, or the tenant's owner.
    [[nodiscard]] bool is_admin() const noexcept { return is_owner || role == "ADMIN"; }
    [[nodiscard]] bool opens(std::string_view surface) const noexcept {
        std::string_view rest = audience;
        while (!rest.empty()) {
            const auto word = rest.substr(0, rest.find(' '));
            if (word == surface) return true;
            rest.remove_prefix(std::min(word.size() + 1, rest.size()));
        }
        return false;
    }
};

}  // namespace millrace::domain::identity
