#pragma once
// One open event stream: no coroutine, no read buffer, a queue of shared frames. Close-delimited:
// the frames are shared between clients byte for byte, and the end of the stream is an event of its
// own.

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <vector>

#include "edge/server/http.hpp"

namespace millrace::edge::server {

using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Executor>;

class EventConnection final : public EventSink,
                              public std::enable_shared_from_this<EventConnection> {
 public:
    struct Limits {
        std::size_t queue_bytes_max;
        std::chrono::milliseconds send_timeout;
        std::chrono::milliseconds heartbeat;
    };
    using OnEnd = std::function<void(const std::shared_ptr<EventConnection>&)>;

    EventConnection(Socket socket, std::unique_ptr<EventFeed> feed, const Limits& limits,
                    OnEnd on_end);

    void start();
    void send(std::shared_ptr<const std::string> frames) override;
    void finish() override;
    /// A heartbeat when one is due; the end of a reader that does not read.
    void tick(base::SteadyTime now);
    /// Asks the client to come back after `retry`, and ends.
    void drain(std::chrono::milliseconds retry);
    void cut();

 private:
    void watch_peer();
    void write();
    void end();

    Socket socket_;
    std::unique_ptr<EventFeed> feed_;
    const Limits& limits_;
    OnEnd on_end_;
    std::vector<std::shared_ptr<const std::string>> queue_;
    std::size_t sent_ = 0;    ///< bytes of queue_.front() that are out
    std::size_t queued_ = 0;  ///< bytes waiting
    base::SteadyTime last_write_;
    bool waiting_ = false;  ///< for the socket to take more
    bool finishing_ = false, ended_ = false;
};

}  // namespace millrace::edge::server
