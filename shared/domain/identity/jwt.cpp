#include "shared/domain/identity/jwt.hpp"

#include <algorithm>

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::identity {

namespace {

constexpr std::string_view k_issuer = "millrace";
constexpr auto k_skew = std::chrono::seconds(60);
constexpr std::size_t k_token_bytes_max = 4096;

std::int64_t seconds_of(base::WallTime when) {
    return std::chrono::duration_cast<std::chrono::seconds>(when.time_since_epoch()).count();
}

std::string sign(std::string_view key, std::string_view signing_input) {
    return base::base64url(base::view(base::hmac_sha256(key, signing_input)));
}

}  // namespace

std::unexpected<Error> refuse_credential(std::string_view why) {
    return fail(ErrorCode::unauthenticated, "the access token is missing, invalid or expired",
                {.log = std::string(why)});
}

TokenIssuer::TokenIssuer(std::vector<std::string> keys) {
    check(!keys.empty(), "tokens are signed with some key");
    for (auto& secret : keys) {
        check(secret.size() >= 32, "a token key has at least 32 bytes");
        auto id = base::hex(base::sha256("kid" + secret)).substr(0, 8);
        keys_.push_back({std::move(id), std::move(secret)});
    }
}

std::string TokenIssuer::issue(const Claims& claims) const {
    const auto& key = keys_.front();
    json::Object payload{{"iss", k_issuer},
                         {"aud", claims.audience},
                         {"sub", claims.user.str()},
                         {"sid", claims.session.str()},
                         {"type", claims.type},
                         {"jti", claims.id},
                         {"iat", seconds_of(claims.issued_at)},
                         {"nbf", seconds_of(claims.issued_at)},
                         {"exp", seconds_of(claims.expires_at)}};
    if (!claims.email.empty()) payload["email"] = claims.email;
    const auto header = json::dump(json::Object{{"alg", "HS256"}, {"typ", "JWT"}, {"kid", key.id}});
    auto token = base::base64url(header) + "." + base::base64url(json::dump(payload));
    token += "." + sign(key.secret, token);
    return token;
}

/// The key that a header names, and only a header like ours: another alg, or a member that would
/// change how the token is to be read, names none.
const TokenIssuer::Key* TokenIssuer::key_of(std::string_view encoded_header) const {
    const auto text = base::base64url_decode(encoded_header);
    if (!text) return nullptr;
    const auto document = json::parse(*text);
    if (!document) return nullptr;
    auto in = document->reader();
    const auto algorithm = in.string("alg", {1, 16});
    const auto type = in.string("typ", {1, 16});
    const auto id = in.string("kid", {1, 16});
    const bool extended = in.has("crit") || in.has("jku") || in.has("jwk") || in.has("x5u") ||
                          in.has("x5c") || in.has("b64");
    if (in.error() || algorithm != "HS256" || type != "JWT" || extended) return nullptr;
    const auto found = std::ranges::find(keys_, id, &Key::id);
    return found == keys_.end() ? nullptr : &*found;
}

Result<Claims> TokenIssuer::verify(std::string_view token, base::WallTime now) const {
    if (token.size() > k_token_bytes_max) return refuse_credential("longer than any of ours");
    const auto first = token.find('.');
    const auto last = token.rfind('.');
    if (first == std::string_view::npos || first == last || token.find('.', first + 1) != last)
        return refuse_credential("not three parts");
    const auto* key = key_of(token.substr(0, first));
    if (!key) return refuse_credential("not our header");
    if (!base::equal_constant_time(sign(key->secret, token.substr(0, last)),
                                   token.substr(last + 1)))
        return refuse_credential("wrong signature");
    const auto payload = base::base64url_decode(token.substr(first + 1, last - first - 1));
    if (!payload) return refuse_credential("payload is not base64url");
    const auto document = json::parse(*payload);
    if (!document) return refuse_credential("payload is not JSON");

    auto in = document->reader();
    constexpr std::int64_t later = std::int64_t{1} << 40;
    Claims claims{.user = {in.uuid("sub")},
                  .session = in.uuid("sid"),
                  .audience = in.string("aud", {1, 64}),
                  .type = in.string("type", {1, 16}),
                  .id = in.string("jti", {1, 64}),
                  .email = in.optional_string("email").value_or("")};
    const auto issuer = in.string("iss", {1, 64});
    const auto issued = in.integer("iat", 0, later);
    const auto not_before = in.integer("nbf", 0, later);
    const auto expires = in.integer("exp", 0, later);
    if (auto error = in.error()) return refuse_credential(error->detail);
    claims.issued_at = base::WallTime(std::chrono::seconds(issued));
    claims.expires_at = base::WallTime(std::chrono::seconds(expires));
    if (issuer != k_issuer) return refuse_credential("issued by somebody else");
    if (base::WallTime(std::chrono::seconds(not_before)) > now + k_skew)
        return refuse_credential("not valid yet");
    if (claims.expires_at + k_skew <= now) return refuse_credential("expired");
    return claims;
}

}  // namespace millrace::domain::identity
