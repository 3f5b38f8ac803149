#pragma once
// Who the client is when proxies stand between. Nobody else's X-Forwarded-For is believed.

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::edge::middleware {

class TrustedProxies {
 public:
    /// Addresses or networks, such as "10.0.0.0/8" or "::1"; nullopt when one is neither.
    [[nodiscard]] static std::optional<TrustedProxies> parse(const std::vector<std::string>& text);

    /// The peer's address; when that is a proxy of ours, the last address in `forwarded_for` (all
    /// X-Forwarded-For lines, joined by commas) that is none.
    [[nodiscard]] std::string client(std::string_view peer, std::string_view forwarded_for) const;

    [[nodiscard]] bool none() const noexcept { return v4_.empty() && v6_.empty(); }

 private:
    [[nodiscard]] bool has(const boost::asio::ip::address& address) const;
    std::vector<boost::asio::ip::network_v4> v4_;
    std::vector<boost::asio::ip::network_v6> v6_;
};

/// What limits count by: an IPv4 address, the /64 of an IPv6 one.
[[nodiscard]] std::string limit_key(std::string_view address);

}  // namespace millrace::edge::middleware
