#include "shared/domain/identity/totp.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>

#include "shared/base/crypto.hpp"
#include "shared/base/result.hpp"

namespace millrace::domain::identity::totp {

namespace {

constexpr auto k_step = std::chrono::seconds(30);
constexpr std::int64_t k_tolerance = 1;

/// RFC 3986: everything but unreserved characters.
std::string percent_encoded(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            out += c;
        } else {
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return out;
}

}  // namespace

std::string hotp(std::string_view secret, std::uint64_t counter, int digits) {
    std::array<unsigned char, 8> message{};
    for (std::size_t i = 0; i < message.size(); ++i)
        message[i] = static_cast<unsigned char>(counter >> (8 * (message.size() - 1 - i)));
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
    unsigned int size = 0;
    const auto* done = HMAC(EVP_sha1(), secret.data(), static_cast<int>(secret.size()),
                            message.data(), message.size(), mac.data(), &size);
    check(done != nullptr && size == 20, "HMAC-SHA-1 has 20 bytes");
    const std::size_t at = mac[19] & 0x0FU;
    const std::uint32_t truncated = (std::uint32_t{mac[at]} & 0x7FU) << 24 |
                                    std::uint32_t{mac[at + 1]} << 16 |
                                    std::uint32_t{mac[at + 2]} << 8 | std::uint32_t{mac[at + 3]};
    std::uint32_t modulus = 1;
    for (int i = 0; i < digits; ++i) modulus *= 10;
    return fmt::format("{:0{}}", truncated % modulus, digits);
}

std::int64_t step_at(base::WallTime now) {
    return std::chrono::floor<std::chrono::seconds>(now).time_since_epoch() / k_step;
}

std::optional<std::int64_t> step_of(std::string_view secret, std::string_view code,
                                    base::WallTime now) {
    std::optional<std::int64_t> found;
    const auto middle = step_at(now);
    for (auto step = middle - k_tolerance; step <= middle + k_tolerance; ++step) {
        if (base::equal_constant_time(hotp(secret, static_cast<std::uint64_t>(step)), code))
            found = step;
    }
    return found;
}

std::string base32(std::string_view bytes) {
    static constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    std::string out;
    std::uint32_t buffer = 0;
    int bits = 0;
    for (const char c : bytes) {
        buffer = buffer << 8 | static_cast<unsigned char>(c);
        for (bits += 8; bits >= 5; bits -= 5) out += alphabet[buffer >> (bits - 5) & 31U];
    }
    if (bits > 0) out += alphabet[buffer << (5 - bits) & 31U];
    return out;
}

std::string provisioning_uri(std::string_view issuer, std::string_view account,
                             std::string_view secret) {
    return fmt::format(
        "otpauth://totp/{0}:{1}?secret={2}&issuer={0}&algorithm=SHA1&digits=6&period=30",
        percent_encoded(issuer), percent_encoded(account), base32(secret));
}

}  // namespace millrace::domain::identity::totp
