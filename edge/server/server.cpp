#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <unordered_set>

#include "edge/server/connection.hpp"
#include "edge/server/peers.hpp"
#include "shared/async/task_group.hpp"
#include "shared/base/crypto.hpp"

namespace millrace::edge::server {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;

constexpr auto k_tick = std::chrono::milliseconds(100);
constexpr auto k_accept_pause = std::chrono::milliseconds(100);
constexpr auto k_drain_spread = std::chrono::milliseconds(3000);
constexpr int k_backlog = 4096;
constexpr auto k_join = std::chrono::seconds(10);

class BeastServer final : public Server {
 public:
    BeastServer(Executor executor, Application& application, ServerOptions options)
        : executor_(executor),
          shared_{.application = application,
                  .options = options,
                  .event_limits = {options.event_queue_bytes_max, options.send_timeout,
                                   options.heartbeat},
                  .stats = {},
                  .date = base::http_date(std::chrono::system_clock::now()),
                  .room_for_events = {},
                  .adopt_events = {}},
          peers_(options.connections_per_address_max),
          acceptor_(executor),
          tasks_(executor, [](const std::string&, const std::string&) {}),
          empty_(executor) {
        shared_.room_for_events = [this] {
            return events_.size() < shared_.options.event_streams_max &&
                   pressure_ == Pressure::none;
        };
        shared_.adopt_events = [this](Socket socket, std::unique_ptr<EventFeed> feed) {
            adopt(std::move(socket), std::move(feed));
        };
        const tcp::endpoint endpoint(asio::ip::make_address(options.bind_address), options.port);
        acceptor_.open(endpoint.protocol());
        acceptor_.set_option(Acceptor::reuse_address(true));
        acceptor_.bind(endpoint);
        acceptor_.listen(k_backlog);
        tasks_.spawn("accept", accept());
        tasks_.spawn("tick", tick());
    }

    ~BeastServer() override {
        check(tasks_.size() == 0, "the server is stopped before it is destroyed");
    }

    [[nodiscard]] std::uint16_t port() const override { return acceptor_.local_endpoint().port(); }

    [[nodiscard]] ServerStats stats() const override {
        auto out = shared_.stats;
        out.connections = connections_.size();
        out.event_streams = events_.size();
        return out;
    }

    void set_pressure(Pressure pressure) override { pressure_ = pressure; }

    Task<void> drain(Deadline deadline) override {
        shared_.draining = true;
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        for (const auto& connection : std::vector(connections_.begin(), connections_.end()))
            connection->close_if_idle();
        const auto spread =
            std::min<std::chrono::nanoseconds>(k_drain_spread, deadline.remaining() / 2);
        const auto streams = std::vector(events_.begin(), events_.end());
        for (std::size_t i = 0; i < streams.size(); ++i) {
            streams[i]->drain(std::chrono::milliseconds(2000 + base::random_u32() % 3000));
            if (i % 64 == 63)
                co_await async::delay(executor_,
                                      spread / static_cast<std::int64_t>(streams.size() / 64 + 1));
        }
        while (!connections_.empty() || !events_.empty()) {
            if (!co_await empty_.wait(deadline)) break;
        }
    }

    Task<void> stop() override {
        shared_.draining = true;
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        for (const auto& connection : std::vector(connections_.begin(), connections_.end()))
            connection->cut();
        for (const auto& stream : std::vector(events_.begin(), events_.end())) stream->cut();
        tasks_.cancel();
        co_await tasks_.join(Deadline::in(k_join));
    }

 private:
    Task<void> accept() {
        while (acceptor_.is_open()) {
            auto [ec, socket] = co_await acceptor_.async_accept(async::use_result);
            if (ec == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
            if (ec) {  // no file descriptor left, or the client was gone at once: pause, never spin
                co_await async::delay(executor_, k_accept_pause);
                continue;
            }
            ++shared_.stats.accepted_total;
            while (pressure_ == Pressure::critical)
                co_await async::delay(executor_, k_accept_pause);
            if (connections_.size() + events_.size() >= shared_.options.connections_max) {
                boost::system::error_code ignored;
                socket.close(ignored);
                ++shared_.stats.refused_total;
                continue;
            }
            auto connection = std::make_shared<Connection>(std::move(socket), shared_);
            if (!peers_.enter(connection->peer())) {
                connection->cut();
                ++shared_.stats.refused_total;
                continue;
            }
            connections_.insert(connection);
            tasks_.spawn("connection", serve(std::move(connection)));
        }
    }

    Task<void> serve(std::shared_ptr<Connection> connection) {
        co_await connection->run();
        peers_.leave(connection->peer());
        connections_.erase(connection);
        tell_empty();
    }

    void adopt(Socket socket, std::unique_ptr<EventFeed> feed) {
        boost::system::error_code gone;
        const auto peer = socket.remote_endpoint(gone).address();
        peers_.keep(peer);
        auto stream = std::make_shared<EventConnection>(
            std::move(socket), std::move(feed), shared_.event_limits,
            [this, peer](const std::shared_ptr<EventConnection>& ended) {
                peers_.leave(peer);
                events_.erase(ended);
                tell_empty();
            });
        events_.insert(stream);
        stream->start();
    }

    Task<void> tick() {
        for (std::uint32_t count = 0;; ++count) {
            co_await async::delay(executor_, k_tick);
            const auto now = std::chrono::steady_clock::now();
            for (const auto& connection : connections_) connection->tick(now);
            if (count % 10 != 0) continue;
            shared_.date = base::http_date(std::chrono::system_clock::now());
            for (const auto& stream : std::vector(events_.begin(), events_.end()))
                stream->tick(now);
        }
    }

    void tell_empty() {
        if (connections_.empty() && events_.empty()) empty_.notify_all();
    }

    Executor executor_;
    Shared shared_;
    Peers peers_;
    Pressure pressure_ = Pressure::none;
    Acceptor acceptor_;
    async::TaskGroup tasks_;
    std::unordered_set<std::shared_ptr<Connection>> connections_;
    std::unordered_set<std::shared_ptr<EventConnection>> events_;
    async::Event empty_;
};

}  // namespace

std::unique_ptr<Server> make_server(Executor executor, Application& application,
                                    ServerOptions options) {
    return std::make_unique<BeastServer>(std::move(executor), application, std::move(options));
}

}  // namespace millrace::edge::server
