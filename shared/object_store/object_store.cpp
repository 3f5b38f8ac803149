#include "shared/object_store/object_store.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::object_store {

namespace {

constexpr std::size_t k_key_bytes_max = 500;

}  // namespace

bool is_valid_key(std::string_view key) noexcept {
    if (key.empty() || key.size() > k_key_bytes_max || key.front() == '/' || key.back() == '/')
        return false;
    std::string_view segment;
    while (!key.empty()) {
        const auto slash = std::min(key.find('/'), key.size());
        segment = key.substr(0, slash);
        key.remove_prefix(std::min(slash + 1, key.size()));
        const bool clean = std::ranges::all_of(segment, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '.' || c == '_' || c == '-';
        });
        if (segment.empty() || segment.front() == '.' || !clean) return false;
    }
    return true;
}

Result<void> check_key(std::string_view key) {
    if (is_valid_key(key)) return {};
    return fail(ErrorCode::invalid, "not a key of the object store",
                {.log = fmt::format("object store: key '{}' refused", key)});
}

}  // namespace millrace::object_store
