// The SSRF guard of shared/http_client: whatever a user writes, nothing but public addresses is
// spoken to.

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>

#include <set>

#include "shared/http_client/guard.hpp"
#include "shared/http_client/http_client.hpp"
#include "tests/support/http_server.hpp"
#include "tests/support/kafka_loop.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using http_client::Profile;
using millrace::tests::HttpServer;
using millrace::tests::Loop;

namespace {

/// Hosts that name something else than a public address, in every spelling that some parser takes.
const std::vector<std::string> k_hosts = {
    // loopback
    "127.0.0.1",
    "127.0.0.0",
    "127.1",
    "127.0.1",
    "127.255.255.255",
    "127.127.127.127",
    "0x7f.1",
    "0x7f000001",
    "0x7F.0x0.0x0.0x1",
    "0X7F000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "00000177.1",
    "127.0.0.0x1",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost.localdomain",
    "foo.localhost",
    "ip6-localhost",
    // this network
    "0",
    "0.0.0.0",
    "0.0",
    "0x0",
    "00",
    "0.1.2.3",
    "0.255.255.255",
    "000.000.000.000",
    // private, shared, link-local
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "10.1",
    "0xa.1",
    "012.0.0.1",
    "167772161",
    "172.16.0.0",
    "172.16.0.1",
    "172.31.255.255",
    "0xac100001",
    "2886729729",
    "0254.020.0.1",
    "192.168.0.0",
    "192.168.1.1",
    "192.168.255.255",
    "0xc0a80101",
    "3232235777",
    "0300.0250.1.1",
    "100.64.0.0",
    "100.64.0.1",
    "100.127.255.255",
    "1681915905",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    // protocol assignments, documentation, benchmarks, 6to4 relays, multicast, reserved, broadcast
    "192.0.0.1",
    "192.0.0.170",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.9",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "250.1.2.3",
    "255.255.255.255",
    "4294967295",
    "0xffffffff",
    // IPv6
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:192.168.1.1]",
    "[::ffff:8.8.8.8]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001:0:7f00:1::]",
    "[2001::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[5f00::1]",
    "[fc00::1]",
    "[fd00::1]",
    "[fd00:ec2::254]",
    "[fdff:ffff::1]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[febf::1]",
    "[fec0::1]",
    "[ff01::1]",
    "[ff02::1]",
    "[ff05::2]",
    "[ff0e::1]",
    "[::1%25lo]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::FFFF:127.0.0.1]",
    // names of no public zone, and what is no name
    "metadata",
    "metadata.google.internal",
    "db.internal",
    "printer.local",
    "router",
    "1.0.0.127.in-addr.arpa",
    "a..b.example",
    ".example.com",
    "example.com.",
    "under_score.example",
    "ex%00ample.com",
    "1.2.3.0x4",
    "1.2.3.4.5",
    "256.256.256.256",
    "[::1",
    "[]",
    "[v1.fe80::a]",
};

/// Whole URLs that are wrong whatever their host; @ stands for the canary's authority.
const std::vector<std::string> k_urls = {
    // other schemes
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://@/_INFO",
    "ftp://@/",
    "ftps://@/",
    "dict://@/info",
    "ldap://@/",
    "ldaps://@/",
    "telnet://@/",
    "tftp://@/x",
    "smb://@/share",
    "smtp://@/",
    "imap://@/",
    "pop3://@/",
    "rtsp://@/",
    "scp://@/x",
    "sftp://@/x",
    "mqtt://@/x",
    "ws://@/",
    "wss://@/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "jar:http://@/!/",
    "netdoc:///etc/passwd",
    "unix:///var/run/x.sock",
    "about:blank",
    // ports
    "https://example.com:22/",
    "https://example.com:80/",
    "https://example.com:8443/",
    "https://example.com:6379/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:-1/",
    "https://example.com:443x/",
    "http://example.com:8080/",
    "http://example.com:443/",
    "http://example.com:25/",
    // credentials
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://:password@example.com/",
    "https://example.com@@/",
    "https://example.com:443@@/",
    "https://example.com%40@/",
    // what parsers disagree about
    "",
    " ",
    "/",
    "//@/",
    "example.com",
    "https:",
    "https://",
    "https:///",
    "https:@/",
    "https:/\\@/",
    "https://example.com\\@@/",
    "https://@\\.example.com/",
    "https://example.com /",
    " https://@/",
    "https://exa\tmple.com/",
    "https://example.com/\r\nHost: x",
    "https://example.com/\n",
    "https://\xE2\x91\xA0\xE2\x91\xA1\xE2\x91\xA6.0.0.1/",
    "https://127\xE3\x80\x82"
    "0\xE3\x80\x82"
    "0\xE3\x80\x82"
    "1/",
    "https://ex\xC3\xA4mple.com/",
    "https://example.com#@@/",
    "https://@#@example.com/",
    "https://@?@example.com/",
    "https://[example.com]/",
    "https://example.com:/@:80/\x7f",
};

std::string replaced(std::string text, const std::string& canary) {
    // "@@" is an @ and the canary; a single @ the canary.
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '@') {
            out += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == '@') {
            out += "@" + canary;
            ++i;
        } else {
            out += canary;
        }
    }
    return out;
}

struct Bench {
    Loop loop{};
    HttpServer canary{loop.executor()};

    ErrorCode code(http_client::Client& client, const std::string& url) {
        const auto answer = loop.run(
            client.send({.url = url, .profile = Profile::user_supplied}, Deadline::in(5s)));
        REQUIRE_FALSE(answer.has_value());
        return answer.error().code;
    }
    std::unique_ptr<http_client::Client> client(bool plain, std::vector<std::string> resolve = {}) {
        return http_client::make_client(loop.executor(),
                                        {.allow_plain_http = plain, .resolve = std::move(resolve)});
    }
};

bool is_public(const std::string& text) {
    sockaddr_in v4{.sin_family = AF_INET};
    sockaddr_in6 v6{.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1)
        return http_client::is_public_address(reinterpret_cast<sockaddr*>(&v4));
    REQUIRE(inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1);
    return http_client::is_public_address(reinterpret_cast<sockaddr*>(&v6));
}

}  // namespace

TEST_CASE("every spelling of a forbidden target is refused, and nobody is called") {
    Bench bench;
    CHECK(std::set<std::string>(k_hosts.begin(), k_hosts.end()).size() == k_hosts.size());
    CHECK(k_hosts.size() >= 120);
    const auto port = ":" + std::to_string(bench.canary.port());
    for (const bool plain : {false, true}) {
        const auto client = bench.client(plain);
        for (const auto& host : k_hosts) {
            for (const auto& url :
                 {"https://" + host + "/", "http://" + host + "/", "https://" + host + ":443/x?y",
                  "http://" + host + port + "/", "https://" + host + port + "/"}) {
                CAPTURE(url);
                CHECK(bench.code(*client, url) == ErrorCode::forbidden);
            }
        }
    }
    bench.loop.run_for(50ms);
    CHECK(bench.canary.accepted() == 0);
}

TEST_CASE(
    "other schemes, ports, credentials and riddles for parsers are refused, and nobody is called") {
    Bench bench;
    const auto canary = "127.0.0.1:" + std::to_string(bench.canary.port());
    for (const bool plain : {false, true}) {
        const auto client = bench.client(plain);
        for (const auto& pattern : k_urls) {
            const auto url = pattern.find("user") == std::string::npos &&
                                     pattern.find(":password") == std::string::npos
                                 ? replaced(pattern, canary)
                                 : pattern;
            CAPTURE(url);
            CHECK(bench.code(*client, url) == ErrorCode::forbidden);
        }
        CHECK(bench.code(*client, "https://example.com/" + std::string(3000, 'x')) ==
              ErrorCode::forbidden);
        CHECK(bench.code(*client, std::string("https://example.com/\0x", 22)) ==
              ErrorCode::forbidden);
    }
    bench.loop.run_for(50ms);
    CHECK(bench.canary.accepted() == 0);
}

TEST_CASE(
    "a public name that leads to a forbidden address is refused when the connection would be "
    "made") {
    Bench bench;
    int refused = 0;
    for (const std::string address : {"127.0.0.1",
                                      "127.8.9.10",
                                      "0.0.0.0",
                                      "10.1.2.3",
                                      "172.16.0.1",
                                      "172.31.255.254",
                                      "192.168.0.1",
                                      "169.254.169.254",
                                      "100.64.0.1",
                                      "192.0.0.8",
                                      "198.18.0.1",
                                      "224.0.0.1",
                                      "240.0.0.1",
                                      "255.255.255.255",
                                      "[::1]",
                                      "[::]",
                                      "[::ffff:127.0.0.1]",
                                      "[64:ff9b::7f00:1]",
                                      "[2002:7f00:1::]",
                                      "[fd00::1]",
                                      "[fe80::1]",
                                      "[ff02::1]",
                                      "127.0.0.1,10.0.0.1",
                                      "[::1],127.0.0.1"}) {
        for (const std::string scheme : {"https", "http"}) {
            const std::string port = scheme == "https" ? "443" : "80";
            const auto client = bench.client(true, {"rebound.example:" + port + ":" + address});
            CAPTURE(address);
            const auto answer = bench.loop.run(client->send(
                {.url = scheme + "://rebound.example/", .profile = Profile::user_supplied},
                Deadline::in(5s)));
            REQUIRE_FALSE(answer.has_value());
            // `forbidden` and not `unavailable`: refused here, before a socket existed.
            CHECK(answer.error().code == ErrorCode::forbidden);
            ++refused;
        }
    }
    CHECK(refused == 48);
}

TEST_CASE("the canary is alive, and an operator's own endpoint may be anywhere") {
    Bench bench;
    bench.canary.script({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"});
    const auto client = bench.client(
        false, {"inside.example:" + std::to_string(bench.canary.port()) + ":127.0.0.1"});
    for (const auto& url : {bench.canary.url(),
                            "http://inside.example:" + std::to_string(bench.canary.port()) + "/"}) {
        const auto answer = bench.loop.run(
            client->send({.url = url, .profile = Profile::operator_configured}, Deadline::in(5s)));
        REQUIRE_MESSAGE(answer.has_value(), answer.error().log);
        CHECK(answer->body == "hi");
        // The connection that now exists is no way around the guard.
        CHECK(bench.code(*client, url) == ErrorCode::forbidden);
    }
    CHECK(bench.canary.requests().size() == 2);
}

TEST_CASE("public URLs pass the guard, normalised") {
    const auto checked = [](const std::string& url, bool plain = false) {
        return http_client::check_user_url(url, plain).value_or("refused");
    };
    CHECK(checked("https://example.com/a?b=c") == "https://example.com/a?b=c");
    CHECK(checked("https://example.com") == "https://example.com/");
    CHECK(checked("HTTPS://example.com:443/").find("example.com") != std::string::npos);
    CHECK(checked("https://xn--exmple-cua.com/") == "https://xn--exmple-cua.com/");
    CHECK(checked("https://1.1.1.1/") == "https://1.1.1.1/");
    CHECK(checked("https://[2606:4700:4700::1111]/") == "https://[2606:4700:4700::1111]/");
    CHECK(checked("https://3com.com/") == "https://3com.com/");
    CHECK(checked("http://example.com/") == "refused");
    CHECK(checked("http://example.com/", true) == "http://example.com/");
}

TEST_CASE("the edges of the forbidden ranges") {
    for (const std::string in : {"0.255.255.255",
                                 "10.0.0.0",
                                 "10.255.255.255",
                                 "100.64.0.0",
                                 "100.127.255.255",
                                 "127.0.0.0",
                                 "127.255.255.255",
                                 "169.254.0.0",
                                 "169.254.255.255",
                                 "172.16.0.0",
                                 "172.31.255.255",
                                 "192.0.0.255",
                                 "192.0.2.0",
                                 "192.168.0.0",
                                 "192.168.255.255",
                                 "198.18.0.0",
                                 "198.19.255.255",
                                 "198.51.100.255",
                                 "203.0.113.0",
                                 "224.0.0.0",
                                 "239.255.255.255",
                                 "240.0.0.0",
                                 "255.255.255.255",
                                 "::",
                                 "::1",
                                 "1fff::1",
                                 "4000::1",
                                 "2001:1ff:ffff::1",
                                 "2001:db8::",
                                 "2001:db8:ffff::1",
                                 "2002::",
                                 "2002:ffff::",
                                 "3fff::",
                                 "3fff:fff::1",
                                 "fc00::",
                                 "fdff::1",
                                 "fe80::",
                                 "ff00::"}) {
        CHECK_MESSAGE(!is_public(in), in);
    }
    for (const std::string out : {"1.0.0.0",        "9.255.255.255",   "11.0.0.0",
                                  "100.63.255.255", "100.128.0.0",     "126.255.255.255",
                                  "128.0.0.0",      "169.253.255.255", "169.255.0.0",
                                  "172.15.255.255", "172.32.0.0",      "192.0.1.0",
                                  "192.0.3.0",      "192.167.255.255", "192.169.0.0",
                                  "198.17.255.255", "198.20.0.0",      "198.51.101.0",
                                  "203.0.112.255",  "203.0.114.0",     "223.255.255.255",
                                  "2000::1",        "2001:200::1",     "2001:db7::1",
                                  "2001:db9::1",    "2003::1",         "2606:4700:4700::1111",
                                  "3ffe::1",        "3fff:1000::1"}) {
        CHECK_MESSAGE(is_public(out), out);
    }
}
