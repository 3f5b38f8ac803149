#include "edge/middleware/client_address.hpp"

#include <algorithm>

#include "shared/base/utf8.hpp"

namespace millrace::edge::middleware {

namespace ip = boost::asio::ip;

namespace {

std::optional<ip::address> address_of(std::string_view text) {
    boost::system::error_code ec;
    auto address = ip::make_address(std::string(text), ec);
    if (ec) return std::nullopt;
    if (address.is_v6() && address.to_v6().is_v4_mapped())
        address = ip::make_address_v4(ip::v4_mapped, address.to_v6());
    return address;
}

}  // namespace

std::optional<TrustedProxies> TrustedProxies::parse(const std::vector<std::string>& text) {
    TrustedProxies out;
    for (const auto& one : text) {
        boost::system::error_code ec;
        const bool is_v6 = one.find(':') != std::string::npos;
        const auto with_length =
            one.find('/') != std::string::npos ? one : one + (is_v6 ? "/128" : "/32");
        if (is_v6) {
            out.v6_.push_back(ip::make_network_v6(with_length, ec).canonical());
        } else {
            out.v4_.push_back(ip::make_network_v4(with_length, ec).canonical());
        }
        if (ec) return std::nullopt;
    }
    return out;
}

bool TrustedProxies::has(const ip::address& address) const {
    if (address.is_v4()) {
        return std::ranges::any_of(v4_, [a = address.to_v4()](const auto& network) {
            return ip::network_v4(a, network.prefix_length()).network() == network.network();
        });
    }
    return std::ranges::any_of(v6_, [a = address.to_v6()](const auto& network) {
        return ip::network_v6(a, network.prefix_length()).network() == network.network();
    });
}

std::string TrustedProxies::client(std::string_view peer, std::string_view forwarded_for) const {
    std::string client(peer);
    while (!forwarded_for.empty()) {
        const auto address = address_of(client);
        if (!address || !has(*address)) break;
        const auto comma = forwarded_for.rfind(',');
        const auto last = base::trim(
            comma == std::string_view::npos ? forwarded_for : forwarded_for.substr(comma + 1));
        forwarded_for =
            comma == std::string_view::npos ? std::string_view{} : forwarded_for.substr(0, comma);
        const auto before = address_of(last);
        if (!before) break;  // what is no address was not written by a proxy of ours
        client = before->to_string();
    }
    return client;
}

std::string limit_key(std::string_view text) {
    const auto address = address_of(text);
    if (!address) return std::string(text);
    if (address->is_v4()) return address->to_string();
    return ip::network_v6(address->to_v6(), 64).canonical().network().to_string();
}

}  // namespace millrace::edge::middleware
