#include "shared/domain/identity/address.hpp"

#include <algorithm>
#include <cstring>

namespace millrace::domain::identity {

bool is_email(std::string_view text) {
    const auto at = text.find('@');
    if (at == std::string_view::npos || at == 0 || at > 64 ||
        text.find('@', at + 1) != std::string_view::npos)
        return false;
    const auto domain = text.substr(at + 1);
    const bool clean = std::ranges::all_of(text, [](unsigned char c) {
        return c > 0x20 && c < 0x7F && !std::strchr("\"(),:;<>[\\]", c);
    });
    return clean && domain.size() >= 3 && domain.find('.') != std::string_view::npos &&
           domain.front() != '.' && domain.back() != '.' &&
           domain.find("..") == std::string_view::npos;
}

}  // namespace millrace::domain::identity
