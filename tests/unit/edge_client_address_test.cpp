// Who the client is when proxies stand between.

#include <doctest/doctest.h>

#include "edge/middleware/client_address.hpp"

using millrace::edge::middleware::limit_key;
using millrace::edge::middleware::TrustedProxies;

TEST_CASE("without proxies nobody's word counts") {
    const auto none = TrustedProxies::parse({});
    REQUIRE(none);
    CHECK(none->none());
    CHECK(none->client("198.51.100.7", "203.0.113.9") == "198.51.100.7");
}

TEST_CASE("the last address that is no proxy of ours is the client") {
    const auto proxies = TrustedProxies::parse({"10.0.0.0/8", "2001:db8::1"});
    REQUIRE(proxies);
    CHECK(proxies->client("10.1.2.3", "203.0.113.9") == "203.0.113.9");
    CHECK(proxies->client("10.1.2.3", "6.6.6.6, 203.0.113.9, 10.9.9.9") == "203.0.113.9");
    CHECK(proxies->client("10.1.2.3", "6.6.6.6,203.0.113.9") == "203.0.113.9");
    CHECK(proxies->client("2001:db8::1", "2001:db8::2") == "2001:db8::2");
    CHECK(proxies->client("::ffff:10.1.2.3", "203.0.113.9") == "203.0.113.9");
    // Whoever is not ours is believed in nothing, and what is no address is not looked behind.
    CHECK(proxies->client("198.51.100.7", "203.0.113.9") == "198.51.100.7");
    CHECK(proxies->client("10.1.2.3", "203.0.113.9, unknown") == "10.1.2.3");
    CHECK(proxies->client("10.1.2.3", "") == "10.1.2.3");
    CHECK(proxies->client("10.1.2.3", ", ,") == "10.1.2.3");
}

TEST_CASE("what is neither address nor network is refused") {
    for (const char* wrong : {"proxy.example.com", "10.0.0.0/33", "10.0.0", "::1/129", ""})
        CHECK_FALSE(TrustedProxies::parse({wrong}));
}

TEST_CASE("limits count an IPv6 network as one") {
    CHECK(limit_key("203.0.113.9") == "203.0.113.9");
    CHECK(limit_key("2001:db8:1:2:3:4:5:6") == limit_key("2001:db8:1:2::9"));
    CHECK(limit_key("2001:db8:1:2::9") != limit_key("2001:db8:1:3::9"));
    CHECK(limit_key("::ffff:203.0.113.9") == "203.0.113.9");
}
