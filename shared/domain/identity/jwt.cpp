#include "shared/domain/identity/jwt.hpp"

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::identity {

namespace {

constexpr std::string_view k_issuer = "millrace";
constexpr std::string_view k_header = R"({"alg":"HS256","typ":"JWT"})";
constexpr auto k_skew = std::chrono::seconds(60);
constexpr std::size_t k_token_bytes_max = 4096;

std::int64_t seconds_of(base::WallTime when) {
    return std::chrono::duration_cast<std::chrono::seconds>(when.time_since_epoch()).count();
}

std::unexpected<Error> refuse(std::string_view why) {
    return fail(ErrorCode::unauthenticated, "the access token is missing, invalid or expired",
                {.log = std::string(why)});
}

/// Exactly our header: another alg, or a member that would change how the token is to be read, is
/// refused.
bool is_our_header(std::string_view encoded) {
    const auto text = base::base64url_decode(encoded);
    if (!text) return false;
    const auto document = json::parse(*text);
    if (!document) return false;
    auto in = document->reader();
    const auto algorithm = in.string("alg", {1, 16});
    const bool extended = in.has("crit") || in.has("jku") || in.has("jwk") || in.has("x5u") ||
                          in.has("x5c") || in.has("b64");
    return !in.error() && algorithm == "HS256" && !extended;
}

}  // namespace

TokenIssuer::TokenIssuer(std::string key) : key_(std::move(key)) {
    check(key_.size() >= 32, "the token key has at least 32 bytes");
}

std::string TokenIssuer::sign(std::string_view signing_input) const {
    const auto mac = base::hmac_sha256(key_, signing_input);
    return base::base64url({reinterpret_cast<const char*>(mac.data()), mac.size()});
}

std::string TokenIssuer::issue(const Claims& claims) const {
    const auto& who = claims.principal;
    const auto payload = json::dump(json::Object{{"iss", k_issuer},
                                                 {"aud", who.audience},
                                                 {"sub", who.user.str()},
                                                 {"tid", who.tenant.str()},
                                                 {"role", who.role},
                                                 {"owner", who.is_owner},
                                                 {"use", claims.type},
                                                 {"jti", claims.id},
                                                 {"iat", seconds_of(claims.issued_at)},
                                                 {"nbf", seconds_of(claims.issued_at)},
                                                 {"exp", seconds_of(claims.expires_at)}});
    auto token = base::base64url(k_header) + "." + base::base64url(payload);
    token += "." + sign(token);
    return token;
}

Result<Claims> TokenIssuer::verify(std::string_view token, std::string_view type,
                                   base::WallTime now) const {
    if (token.size() > k_token_bytes_max) return refuse("longer than any of ours");
    const auto first = token.find('.');
    const auto last = token.rfind('.');
    if (first == std::string_view::npos || first == last || token.find('.', first + 1) != last)
        return refuse("not three parts");
    if (!base::equal_constant_time(sign(token.substr(0, last)), token.substr(last + 1)))
        return refuse("wrong signature");
    if (!is_our_header(token.substr(0, first))) return refuse("not our header");
    const auto payload = base::base64url_decode(token.substr(first + 1, last - first - 1));
    if (!payload) return refuse("payload is not base64url");
    const auto document = json::parse(*payload);
    if (!document) return refuse("payload is not JSON");

    auto in = document->reader();
    constexpr std::int64_t later = std::int64_t{1} << 40;
    Claims claims;
    claims.principal = {.tenant = {in.uuid("tid")},
                        .user = {in.uuid("sub")},
                        .role = in.string("role", {1, 32}),
                        .audience = in.string("aud", {1, 32}),
                        .is_owner = in.boolean("owner")};
    claims.type = in.string("use", {1, 16});
    claims.id = in.string("jti", {1, 64});
    const auto issuer = in.string("iss", {1, 64});
    const auto issued = in.integer("iat", 0, later);
    const auto not_before = in.integer("nbf", 0, later);
    const auto expires = in.integer("exp", 0, later);
    if (auto error = in.error()) return refuse(error->detail);
    claims.issued_at = base::WallTime(std::chrono::seconds(issued));
    claims.expires_at = base::WallTime(std::chrono::seconds(expires));
    if (issuer != k_issuer || claims.type != type) return refuse("issued for something else");
    if (base::WallTime(std::chrono::seconds(not_before)) > now + k_skew)
        return refuse("not valid yet");
    TRY_VOID(check_expiry(claims, now));
    return claims;
}

Result<void> TokenIssuer::check_expiry(const Claims& claims, base::WallTime now) {
    if (claims.expires_at + k_skew <= now) return refuse("expired");
    return {};
}

Result<Claims> AccessTokens::verify(std::string_view token, base::WallTime now) {
    if (const auto known = kept_.find(token); known != kept_.end()) {
        TRY_VOID(TokenIssuer::check_expiry(known->second, now));
        return known->second;
    }
    TRY(auto claims, issuer_.verify(token, "access", now));
    if (kept_.size() >= k_kept_max) kept_.clear();
    kept_.emplace(token, claims);
    return claims;
}

}  // namespace millrace::domain::identity
