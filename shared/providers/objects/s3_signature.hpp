#pragma once
// Signature Version 4 as S3 takes it (docs.aws.amazon.com, "Signature Calculations for the
// Authorization Header"). Our own: libcurl signs query strings rightly only since 8.3.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/base/time.hpp"

namespace millrace::providers::objects {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct Signer {
    std::string access_key, secret_key, region;
};

/// What is signed. Nothing in it is encoded yet.
struct ToSign {
    std::string method;
    std::string host;  ///< with the port where it is not the scheme's own
    std::string path;
    Fields query;
    Fields headers;         ///< lower-case names; further ones may be sent, unsigned
    std::string body_hash;  ///< SHA-256 of the body, hex
};

/// The headers that prove the request: Authorization, x-amz-date, x-amz-content-sha256.
[[nodiscard]] Fields sign(const Signer& signer, const ToSign& request, base::WallTime now);

/// RFC 3986: all but A-Z a-z 0-9 - . _ ~ is encoded, and '/' where it separates nothing.
[[nodiscard]] std::string percent_encoded(std::string_view text, bool keep_slashes);
/// "a=1&b=" in the order that is signed, for the URL.
[[nodiscard]] std::string query_string(Fields query);

}  // namespace millrace::providers::objects
