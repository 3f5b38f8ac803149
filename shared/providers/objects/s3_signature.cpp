#include "shared/providers/objects/s3_signature.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "shared/base/crypto.hpp"

namespace millrace::providers::objects {

namespace {

constexpr std::string_view k_algorithm = "AWS4-HMAC-SHA256";

/// "20130524T000000Z"
std::string stamp_of(base::WallTime now) {
    const auto seconds = std::chrono::system_clock::to_time_t(now);
    return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(seconds));
}

std::string canonical_request(const ToSign& request, const Fields& headers,
                              const std::string& names) {
    std::string lines;
    for (const auto& [name, value] : headers) lines += fmt::format("{}:{}\n", name, value);
    return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method,
                       percent_encoded(request.path, true), query_string(request.query), lines,
                       names, request.body_hash);
}

base::Digest signing_key(const Signer& signer, std::string_view day) {
    auto key = base::hmac_sha256("AWS4" + signer.secret_key, day);
    for (const std::string_view part : {std::string_view(signer.region), std::string_view("s3"),
                                        std::string_view("aws4_request")})
        key = base::hmac_sha256(base::view(key), part);
    return key;
}

}  // namespace

std::string percent_encoded(std::string_view text, bool keep_slashes) {
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~' ||
                           (c == '/' && keep_slashes);
        if (plain)
            out += c;
        else
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

std::string query_string(Fields query) {
    for (auto& [name, value] : query) {
        name = percent_encoded(name, false);
        value = percent_encoded(value, false);
    }
    std::ranges::sort(query);
    std::string out;
    for (const auto& [name, value] : query)
        out += fmt::format("{}{}={}", out.empty() ? "" : "&", name, value);
    return out;
}

Fields sign(const Signer& signer, const ToSign& request, base::WallTime now) {
    const auto stamp = stamp_of(now);
    const auto day = stamp.substr(0, 8);
    const auto scope = fmt::format("{}/{}/s3/aws4_request", day, signer.region);
    auto headers = request.headers;
    headers.emplace_back("host", request.host);
    headers.emplace_back("x-amz-content-sha256", request.body_hash);
    headers.emplace_back("x-amz-date", stamp);
    std::ranges::sort(headers);
    std::string names;
    for (const auto& [name, value] : headers) names += (names.empty() ? "" : ";") + name;

    const auto request_hash = base::hex(base::sha256(canonical_request(request, headers, names)));
    const auto key = signing_key(signer, day);
    const auto signature = base::hmac_sha256(
        base::view(key), fmt::format("{}\n{}\n{}\n{}", k_algorithm, stamp, scope, request_hash));
    return {{"Authorization",
             fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", k_algorithm,
                         signer.access_key, scope, names, base::hex(signature))},
            {"x-amz-date", stamp},
            {"x-amz-content-sha256", request.body_hash}};
}

}  // namespace millrace::providers::objects
