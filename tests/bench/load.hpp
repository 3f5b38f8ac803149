#pragma once
// The load generator's parts: options, sockets, and its two ways to work. One thread, raw epoll: it
// shares the machine with what it measures, so it must cost little (a request is one write and one
// read).

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace millrace::bench {

struct LoadOptions {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;
    std::string method = "GET", path = "/", body, token;
    std::vector<std::string> headers;
    bool key = false;  ///< a fresh Idempotency-Key on every request
    std::size_t connections = 64;
    std::uint64_t count = 0;  ///< end after so many requests; 0: by time
    double seconds = 10;
    double rate = 0;         ///< requests per second at a fixed schedule; 0: closed loop
    std::size_t events = 0;  ///< event streams to open and hold instead of sending requests
    double drain = 35;       ///< how long the last answers may take
};

/// Exits 2 with a sentence when they make no sense.
LoadOptions parse_options(int argc, char** argv);

/// The request's bytes; `key_at` is where the 32 characters of the Idempotency-Key stand.
struct RequestText {
    std::string bytes;
    std::size_t key_at = 0;
};
RequestText request_text(const LoadOptions& options);

/// A connected non-blocking socket without Nagle; exits 1 when the server refuses.
int connect_socket(const LoadOptions& options);

[[nodiscard]] std::uint64_t now_ns();
/// User and system time of this process so far.
[[nodiscard]] double cpu_us();
[[noreturn]] void die(const std::string& why);

/// Sends requests, closed or open loop, and prints one JSON object.
void run_requests(const LoadOptions& options);

/// Opens event streams and obeys the lines of standard input; prints one JSON object per answer.
///   (at once)   {"opened": N}           when every stream has its answer's head
///   arm         {"armed": true}         from here on, events are counted
///   report      {"rounds": [{"id": event id, "received": n, "first_to_last_us": t}, …]}
/// Ends with standard input.
void run_streams(const LoadOptions& options);

}  // namespace millrace::bench
