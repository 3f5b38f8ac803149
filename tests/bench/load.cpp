// millrace-load: an HTTP/1.1 load generator; see usage below and load.hpp.

#include "tests/bench/load.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace millrace::bench {

namespace {

constexpr auto k_usage = R"(usage: millrace-load --port N [--host IP] [--path P] [--method M]
    [--header 'Name: value']... [--token BEARER] [--body TEXT] [--key]
  closed loop: --connections N (--seconds S | --count N): the next request when the answer is in
  open loop:   --rate R --seconds S [--connections N]: a fixed schedule; latency counts from the
               moment at which a request was due
  streams:     --events N: holds N event streams; commands on standard input: arm, report
  --key: a fresh Idempotency-Key on every request; --drain S: how long the last answers may take
)";

void raise_open_files() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

void die(const std::string& why) {
    fmt::print(stderr, "millrace-load: {}\n", why);
    std::exit(1);
}

LoadOptions parse_options(int argc, char** argv) {
    LoadOptions out;
    const auto refuse = [] {
        fmt::print(stderr, "{}", k_usage);
        std::exit(2);
    };
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--key") {
            out.key = true;
            continue;
        }
        if (++i == argc) refuse();
        const char* value = argv[i];
        if (name == "--host")
            out.host = value;
        else if (name == "--port")
            out.port = static_cast<std::uint16_t>(std::atoi(value));
        else if (name == "--path")
            out.path = value;
        else if (name == "--method")
            out.method = value;
        else if (name == "--header")
            out.headers.emplace_back(value);
        else if (name == "--token")
            out.token = value;
        else if (name == "--body")
            out.body = value;
        else if (name == "--connections")
            out.connections = std::strtoull(value, nullptr, 10);
        else if (name == "--count")
            out.count = std::strtoull(value, nullptr, 10);
        else if (name == "--seconds")
            out.seconds = std::atof(value);
        else if (name == "--rate")
            out.rate = std::atof(value);
        else if (name == "--events")
            out.events = std::strtoull(value, nullptr, 10);
        else if (name == "--drain")
            out.drain = std::atof(value);
        else
            refuse();
    }
    if (out.port == 0 || out.connections == 0) refuse();
    return out;
}

RequestText request_text(const LoadOptions& options) {
    RequestText out;
    auto& text = out.bytes;
    text = fmt::format("{} {} HTTP/1.1\r\nHost: {}:{}\r\n", options.method, options.path,
                       options.host, options.port);
    if (!options.token.empty()) text += "Authorization: Bearer " + options.token + "\r\n";
    for (const auto& header : options.headers) text += header + "\r\n";
    if (!options.body.empty()) {
        text += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n",
                            options.body.size());
    }
    if (options.key) {
        text += "Idempotency-Key: ";
        out.key_at = text.size();
        text += std::string(32, '0') + "\r\n";
    }
    text += "\r\n" + options.body;
    return out;
}

int connect_socket(const LoadOptions& options) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die(fmt::format("no socket: {}", std::strerror(errno)));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options.port);
    if (inet_pton(AF_INET, options.host.c_str(), &address.sin_addr) != 1)
        die(options.host + " is not an IPv4 address");
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
        die(fmt::format("{}:{}: {}", options.host, options.port, std::strerror(errno)));
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

double cpu_us() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

}  // namespace millrace::bench

int main(int argc, char** argv) {
    const auto options = millrace::bench::parse_options(argc, argv);
    millrace::bench::raise_open_files();
    if (options.events > 0) {
        millrace::bench::run_streams(options);
    } else {
        millrace::bench::run_requests(options);
    }
}
