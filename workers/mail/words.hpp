#pragma once
// What callers name by a code, in the reader's language.

#include <string>
#include <string_view>

namespace millrace::workers::mail {

/// `value` of the placeholder `name` as a reader of `locale` should see it. Products, purposes of a
/// code, security events and times are spelled out; anything else stays as it is.
[[nodiscard]] std::string in_words(std::string_view name, std::string value,
                                   std::string_view locale);

}  // namespace millrace::workers::mail
