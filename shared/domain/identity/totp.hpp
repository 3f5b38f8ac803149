#pragma once
// Time-based one-time passwords, RFC 6238: HMAC-SHA-1, 30 s, six digits, and one step of tolerance
// on either side (section 5.2), which is what every authenticator app speaks.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "shared/base/time.hpp"

namespace millrace::domain::identity::totp {

inline constexpr std::size_t k_secret_bytes = 20;  ///< RFC 4226 section 4 recommends 160 bits

/// RFC 4226's HOTP value of a counter, `digits` of it (6 to 8).
[[nodiscard]] std::string hotp(std::string_view secret, std::uint64_t counter, int digits = 6);

[[nodiscard]] std::int64_t step_at(base::WallTime now);
/// The step whose code this is, within the tolerance; nullopt: of none. The caller remembers it,
/// and accepts no step twice.
[[nodiscard]] std::optional<std::int64_t> step_of(std::string_view secret, std::string_view code,
                                                  base::WallTime now);

/// RFC 4648 without padding, as apps want to be given a secret.
[[nodiscard]] std::string base32(std::string_view bytes);
/// otpauth://totp/ISSUER:ACCOUNT?…, the Key URI that apps read from a QR code.
[[nodiscard]] std::string provisioning_uri(std::string_view issuer, std::string_view account,
                                           std::string_view secret);

}  // namespace millrace::domain::identity::totp
