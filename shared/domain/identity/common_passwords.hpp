#pragma once
// Passwords that everybody tries first.

#include <string_view>

namespace millrace::domain::identity {

/// Whether it is one of the commonest leaked passwords of at least eight characters, whatever its
/// case. The contracts' own example, Password123, is not counted among them.
[[nodiscard]] bool is_common_password(std::string_view password);

}  // namespace millrace::domain::identity
