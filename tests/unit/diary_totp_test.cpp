#include <doctest/doctest.h>

#include <array>

#include "shared/domain/identity/totp.hpp"

namespace totp = millrace::domain::identity::totp;
using millrace::base::WallTime;

namespace {

constexpr std::string_view k_secret = "12345678901234567890";  // RFC 4226 appendix D, RFC 6238 B

WallTime at(std::int64_t seconds) {
    return WallTime(std::chrono::seconds(seconds));
}

std::string code_at(std::int64_t seconds) {
    return totp::hotp(k_secret, static_cast<std::uint64_t>(totp::step_at(at(seconds))));
}

}  // namespace

TEST_CASE("HOTP: the vectors of RFC 4226 appendix D") {
    const std::array<const char*, 10> codes = {"755224", "287082", "359152", "969429", "338314",
                                               "254676", "287922", "162583", "399871", "520489"};
    for (std::size_t i = 0; i < codes.size(); ++i) CHECK(totp::hotp(k_secret, i) == codes[i]);
}

TEST_CASE("TOTP: the SHA-1 vectors of RFC 6238 appendix B") {
    const std::array<std::pair<std::int64_t, const char*>, 6> vectors = {
        {{59, "94287082"},
         {1111111109, "07081804"},
         {1111111111, "14050471"},
         {1234567890, "89005924"},
         {2000000000, "69279037"},
         {20000000000, "65353130"}}};
    for (const auto& [seconds, code] : vectors) {
        const auto step = static_cast<std::uint64_t>(seconds / 30);  // 2603 is beyond our clock
        CHECK(totp::hotp(k_secret, step, 8) == code);
    }
}

TEST_CASE("one step early and one late are accepted, two are not") {
    constexpr std::int64_t now = 1111111111;
    const auto middle = totp::step_at(at(now));
    for (int off = -1; off <= 1; ++off)
        CHECK(totp::step_of(k_secret, code_at(now + 30 * off), at(now)) == middle + off);
    CHECK_FALSE(totp::step_of(k_secret, code_at(now - 60), at(now)));
    CHECK_FALSE(totp::step_of(k_secret, code_at(now + 60), at(now)));
    CHECK_FALSE(totp::step_of(k_secret, "", at(now)));
    CHECK_FALSE(totp::step_of(k_secret, code_at(now) + "0", at(now)));
}

TEST_CASE("base32: the vectors of RFC 4648, without padding") {
    CHECK(totp::base32("").empty());
    CHECK(totp::base32("f") == "MY");
    CHECK(totp::base32("fo") == "MZXQ");
    CHECK(totp::base32("foo") == "MZXW6");
    CHECK(totp::base32("foob") == "MZXW6YQ");
    CHECK(totp::base32("fooba") == "MZXW6YTB");
    CHECK(totp::base32("foobar") == "MZXW6YTBOI");
    CHECK(totp::base32(k_secret) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
}

TEST_CASE("the provisioning URI keeps an address out of its own syntax") {
    CHECK(totp::provisioning_uri("Kuden", "a+b?secret=x&c@example.com", k_secret) ==
          "otpauth://totp/Kuden:a%2Bb%3Fsecret%3Dx%26c%40example.com?secret="
          "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Kuden&algorithm=SHA1&digits=6&period=30");
}
