#pragma once
// A TCP proxy on loopback between a driver and its server: cuts, refuses and freezes on demand.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "shared/async/task.hpp"

namespace millrace::tests {

/// scheme://[user[:password]@]host:port[/…] taken apart, so that it can lead through a proxy.
struct ServerUrl {
    std::string before, host, after;
    std::uint16_t port = 0;

    [[nodiscard]] static ServerUrl parse(std::string_view url);
    /// The same on 127.0.0.1, at another port.
    [[nodiscard]] std::string at(std::uint16_t other_port) const;
};

/// Listens on 127.0.0.1, on a port of its own for as long as it lives, and forwards to host:port.
/// Runs on the test's own loop: nothing moves, and no connection is accepted, while that does not
/// run. Everything is called on the loop's thread.
class TcpProxy {
 public:
    TcpProxy(Executor executor, std::string host, std::uint16_t port);
    TcpProxy(Executor executor, const ServerUrl& target)
        : TcpProxy(std::move(executor), target.host, target.port) {}
    ~TcpProxy();
    TcpProxy(const TcpProxy&) = delete;
    TcpProxy& operator=(const TcpProxy&) = delete;

    [[nodiscard]] std::uint16_t port() const noexcept;

    /// Both sides of every connection see a reset. New connections are welcome.
    void cut();
    /// The server is away: new connections are refused, until accept_again(). Those that exist
    /// stay.
    void refuse();
    void accept_again();
    /// No byte passes in either direction, and nothing is closed, until thaw(). Connections made
    /// meanwhile are as silent.
    void freeze();
    void thaw();

    /// Connections accepted since the beginning, and those that exist now.
    [[nodiscard]] std::size_t accepted() const noexcept;
    [[nodiscard]] std::size_t open() const noexcept;
    /// Bytes that went to the server since the beginning: to know that a request is on its way.
    [[nodiscard]] std::uint64_t bytes_to_server() const noexcept;

 private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace millrace::tests
