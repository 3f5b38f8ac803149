#pragma once
// UUIDs (RFC 9562) and the strong id types built on them.

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::base {

struct Uuid {
    std::array<std::uint8_t, 16> bytes{};

    /// Canonical lower-case text, 36 characters.
    [[nodiscard]] std::string str() const;
    /// Accepts the canonical 36-character form in either case; nothing else.
    [[nodiscard]] static std::optional<Uuid> parse(std::string_view text) noexcept;
    [[nodiscard]] bool is_nil() const noexcept { return *this == Uuid{}; }
    auto operator<=>(const Uuid&) const = default;
};

/// Version 7: 48-bit Unix milliseconds, then a counter that keeps ids of one process strictly
/// increasing, then random bits. Not a secret: use random_bytes() for tokens. One thread.
[[nodiscard]] Uuid uuid_v7(
    std::chrono::system_clock::time_point now = std::chrono::system_clock::now());
/// Version 8 (RFC 9562 §5.8): always the same for one name, from its SHA-256.
[[nodiscard]] Uuid named_uuid(std::string_view name);
/// The milliseconds a version 7 id carries.
[[nodiscard]] std::chrono::system_clock::time_point uuid_time(const Uuid& id) noexcept;

/// A UUID that cannot be mistaken for another kind of id.
template <class Tag>
struct Id {
    Uuid uuid{};

    [[nodiscard]] static Id make() { return Id{uuid_v7()}; }
    [[nodiscard]] static std::optional<Id> parse(std::string_view text) noexcept {
        auto parsed = Uuid::parse(text);
        return parsed ? std::optional<Id>(Id{*parsed}) : std::nullopt;
    }
    [[nodiscard]] std::string str() const { return uuid.str(); }
    [[nodiscard]] bool is_nil() const noexcept { return uuid.is_nil(); }
    auto operator<=>(const Id&) const = default;
};

using JobId = Id<struct JobTag>;
using TenantId = Id<struct TenantTag>;
using UserId = Id<struct UserTag>;
using FileId = Id<struct FileTag>;

}  // namespace millrace::base

template <>
struct std::hash<millrace::base::Uuid> {
    std::size_t operator()(const millrace::base::Uuid& id) const noexcept {
        std::uint64_t low = 0;
        std::memcpy(&low, id.bytes.data() + 8, sizeof low);  // the random half
        return static_cast<std::size_t>(low);
    }
};
template <class Tag>
struct std::hash<millrace::base::Id<Tag>> {
    std::size_t operator()(const millrace::base::Id<Tag>& id) const noexcept {
        return std::hash<millrace::base::Uuid>{}(id.uuid);
    }
};
