#pragma once
// How many connections each address holds. Loopback is not limited: there it is always a proxy or
// a test. An IPv6 peer is its /64, which is what one subscriber gets.

#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <cstring>
#include <map>

namespace millrace::edge::server {

class Peers {
 public:
    /// 0: no limit.
    explicit Peers(std::size_t per_address_max) : max_(per_address_max) {}

    using Address = boost::asio::ip::address;

    /// False: this address has as many as it may. Each true, and each keep(), is followed by one
    /// leave().
    bool enter(const Address& address) {
        if (!counts(address)) return true;
        auto& open = open_[key(address)];
        if (open >= max_) return false;
        ++open;
        return true;
    }
    /// One more without asking: a connection that becomes an event stream goes on being one.
    void keep(const Address& address) {
        if (counts(address)) ++open_[key(address)];
    }
    void leave(const Address& address) {
        const auto found = open_.find(key(address));
        if (counts(address) && found != open_.end() && --found->second == 0) open_.erase(found);
    }
    [[nodiscard]] std::size_t size() const noexcept { return open_.size(); }

 private:
    [[nodiscard]] bool counts(const Address& address) const {
        return max_ > 0 && !address.is_loopback() && !address.is_unspecified();
    }
    static std::uint64_t key(const Address& address) {
        if (address.is_v4()) return address.to_v4().to_uint();
        const auto bytes = address.to_v6().to_bytes();
        std::uint64_t out = 0;
        std::memcpy(&out, bytes.data(), sizeof out);
        return out;
    }

    std::size_t max_;
    std::map<std::uint64_t, std::size_t> open_;
};

}  // namespace millrace::edge::server
