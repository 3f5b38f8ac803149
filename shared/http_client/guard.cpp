#include "shared/http_client/guard.hpp"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "shared/base/utf8.hpp"

namespace millrace::http_client {

namespace {

struct Net4 {
    std::uint32_t address;
    int bits;
};
// IANA IPv4 special-purpose registry, and multicast.
constexpr std::array<Net4, 17> k_not_public_4 = {{{0x00000000, 8},
                                                  {0x0A000000, 8},
                                                  {0x64400000, 10},
                                                  {0x7F000000, 8},
                                                  {0xA9FE0000, 16},
                                                  {0xAC100000, 12},
                                                  {0xC0000000, 24},
                                                  {0xC0000200, 24},
                                                  {0xC0586300, 24},
                                                  {0xC0A80000, 16},
                                                  {0xC6120000, 15},
                                                  {0xC6336400, 24},
                                                  {0xCB007100, 24},
                                                  {0xE0000000, 4},
                                                  {0xF0000000, 4},
                                                  {0xC01FC400, 24},
                                                  {0xC034C100, 24}}};

bool is_public_4(std::uint32_t address) {
    return std::ranges::none_of(k_not_public_4, [address](const Net4& net) {
        return (address ^ net.address) >> (32 - net.bits) == 0;
    });
}

/// Only 2000::/3 is global unicast; of it, what tunnels IPv4 is judged by the IPv4 address inside,
/// what documents or tests is out.
bool is_public_6(const std::uint8_t* a) {
    static constexpr std::uint8_t nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
    if (std::memcmp(a, nat64, sizeof nat64) == 0) return false;
    if ((a[0] & 0xE0) != 0x20) return false;
    if (a[0] == 0x20 && a[1] == 0x02) return false;  // 6to4
    if (a[0] == 0x20 && a[1] == 0x01 && (a[2] & 0xFE) == 0x00)
        return false;  // 2001::/23: Teredo, benchmarks, ORCHID
    if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0D && a[3] == 0xB8)
        return false;  // documentation
    if (a[0] == 0x3F && a[1] == 0xFF && (a[2] & 0xF0) == 0x00)
        return false;  // documentation, 3fff::/20
    return true;
}

struct FreeUrl {
    void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
};

std::string part(CURLU* url, CURLUPart what, unsigned flags = 0) {
    char* text = nullptr;
    if (curl_url_get(url, what, &text, flags) != CURLUE_OK) return {};
    std::string out = text;
    curl_free(text);
    return out;
}

std::unexpected<Error> refuse(std::string_view why) {
    return fail(ErrorCode::forbidden, "this URL may not be fetched: " + std::string(why));
}

/// What stands between "//" and the next "/" or "?", a fragment's mark included.
std::string_view raw_authority(std::string_view text) {
    const auto slashes = text.find("://");
    if (slashes == std::string_view::npos) return {};
    const auto rest = text.substr(slashes + 3);
    return rest.substr(0, rest.find_first_of("/?"));
}

/// Letters, digits, hyphens and dots only, with a top-level domain that is not a number: no odd
/// spelling of an IPv4 address.
bool is_plain_name(std::string_view host) {
    const bool clean = std::ranges::all_of(host, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    });
    const auto dot = host.rfind('.');
    if (!clean || dot == std::string_view::npos || host.front() == '.' || host.back() == '.' ||
        host.find("..") != std::string_view::npos)
        return false;
    const auto top = host.substr(dot + 1);
    if (top == "localhost" || top == "localdomain" || top == "local" || top == "internal" ||
        top == "arpa")
        return false;
    return std::ranges::any_of(top, [](char c) { return c >= 'a' && c <= 'z'; }) &&
           !top.starts_with("0x");
}

}  // namespace

bool is_public_address(const sockaddr* address) noexcept {
    if (address->sa_family == AF_INET)
        return is_public_4(ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr));
    if (address->sa_family != AF_INET6) return false;
    return is_public_6(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr.s6_addr);
}

Result<std::string> check_user_url(const std::string& text, bool allow_plain_http) {
    const bool visible = std::ranges::all_of(
        text, [](unsigned char c) { return c > 0x20 && c < 0x7F && c != '\\'; });
    if (text.empty() || text.size() > 2048 || !visible)
        return refuse("it holds characters that a URL must not");
    const std::unique_ptr<CURLU, FreeUrl> url(curl_url());
    if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK)
        return refuse("it is not a URL");
    const auto scheme = part(url.get(), CURLUPART_SCHEME);
    if (scheme != "https" && !(allow_plain_http && scheme == "http"))
        return refuse("only https is allowed");
    const auto port = part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
    if (port != (scheme == "https" ? "443" : "80"))
        return refuse("only the standard port is allowed");
    auto host = part(url.get(), CURLUPART_HOST);
    // The host is what the text says it is: no number that the parser has rewritten into an
    // address, nothing before it, and nothing after it that another parser would take for the host.
    const auto raw = raw_authority(text);
    if (!raw.starts_with(host) || raw.find_first_of("@#") != std::string_view::npos)
        return refuse("its host is not written plainly");
    host = base::ascii_lower(host);
    sockaddr_in v4{.sin_family = AF_INET};
    sockaddr_in6 v6{.sin6_family = AF_INET6};
    if (host.starts_with('[')) {
        const auto inside = host.substr(1, host.size() - 2);
        if (inet_pton(AF_INET6, inside.c_str(), &v6.sin6_addr) != 1 ||
            !is_public_address(reinterpret_cast<sockaddr*>(&v6))) {
            return refuse("the address is not public");
        }
    } else if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
        if (!is_public_address(reinterpret_cast<sockaddr*>(&v4)))
            return refuse("the address is not public");
    } else if (!is_plain_name(host)) {
        return refuse("the host is not a public name");
    }
    return part(url.get(), CURLUPART_URL);
}

}  // namespace millrace::http_client
