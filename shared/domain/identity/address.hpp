#pragma once
// E-mail addresses as keys of accounts.

#include <string_view>

namespace millrace::domain::identity {

/// local@domain in ASCII, at most 64 characters before the @, a dot in the domain; no quoting, no
/// comments. What any mail server of the world accepts is left to the mail that is sent.
[[nodiscard]] bool is_email(std::string_view text);

}  // namespace millrace::domain::identity
