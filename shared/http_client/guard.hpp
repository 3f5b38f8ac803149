#pragma once
// The SSRF guard for URLs that a user supplied [engineering S11].

#include <sys/socket.h>

#include <string>

#include "shared/base/result.hpp"

namespace millrace::http_client {

/// Whether an address belongs to the public Internet: not loopback, private, link-local, carrier
/// NAT, multicast, reserved, documentation or benchmark space, nor an IPv6 form that wraps one of
/// those.
[[nodiscard]] bool is_public_address(const sockaddr* address) noexcept;

/// https (http only when allowed), port 443 (80), no credentials, a host that is a plain DNS name
/// or a public literal. Returns the normalised URL.
[[nodiscard]] Result<std::string> check_user_url(const std::string& url, bool allow_plain_http);

}  // namespace millrace::http_client
