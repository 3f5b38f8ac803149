#pragma once
// How much memory this process holds, and what it stops doing when that is too much.

#include <cstdint>

#include "edge/server/http.hpp"

namespace millrace::edge::middleware {

/// Resident bytes of this process; 0 when the kernel does not say.
[[nodiscard]] std::uint64_t resident_bytes();

/// Above 85 % of `bytes_max` no event stream and no upload begins; above 95 % no connection either.
/// 0: no limit.
[[nodiscard]] server::Pressure pressure_of(std::uint64_t resident,
                                           std::uint64_t bytes_max) noexcept;

}  // namespace millrace::edge::middleware
