#pragma once
// One client connection: heads in, requests to the application, answers out.

#include <memory>
#include <string>

#include "edge/server/event_connection.hpp"
#include "edge/server/head.hpp"

namespace millrace::edge::server {

/// What all connections of a server share.
struct Shared {
    Application& application;
    ServerOptions options;
    EventConnection::Limits event_limits;
    ServerStats stats;
    std::string date;  ///< of the Date header, renewed every second
    bool draining = false;
    std::size_t buffered_bodies_bytes = 0;  ///< of all connections
    std::function<bool()> room_for_events;  ///< false: too many streams
    std::function<void(Socket, std::unique_ptr<EventFeed>)> adopt_events;
};

class Connection final : public Request::ClientWatch,
                         public std::enable_shared_from_this<Connection> {
 public:
    Connection(Socket socket, Shared& shared);

    /// Serves until the connection ends. Never throws.
    Task<void> run();
    /// Called every tick: a phase that lasts too long is ended.
    void tick(base::SteadyTime now);
    /// Closes it if it is between requests.
    void close_if_idle();
    void cut();

    [[nodiscard]] const boost::asio::ip::address& peer() const noexcept { return peer_; }

    void on_gone(std::function<void()> callback) override;

 private:
    enum class Phase : std::uint8_t { idle, head, body, handling, writing, closing };
    class Stream;

    Task<void> serve();
    Task<bool> read_head();
    Task<bool> serve_request();
    Task<bool> run_application(Request& request, const Framing& framing);
    Task<Result<void>> read_body(const Framing& framing, const BodyPlan& plan);
    Task<Result<std::size_t>> read_more();
    Task<bool> answer(const Request* request, Response response, bool keep_alive);
    Task<bool> refuse_start(ErrorCode code, std::string_view why, int status);
    Task<bool> refuse_body(const Request& request, Error why);
    Task<bool> refuse(const Request* request, ErrorCode code, std::string_view why, int status);
    Task<bool> write_all(std::string_view head, std::string_view body);
    Task<void> linger();
    void enter(Phase phase, std::chrono::nanoseconds limit);
    void watch_peer();
    void give_memory_back();
    void drop_body();
    [[nodiscard]] std::string_view unread() const {
        return std::string_view(buffer_).substr(consumed_);
    }

    Socket socket_;
    Shared& shared_;
    HeadParser parser_;
    std::string buffer_;  ///< bytes read; the first consumed_ are done with
    std::size_t consumed_ = 0;
    std::string head_;  ///< the current request's head
    std::string body_;  ///< its body, when it is buffered
    std::string out_;   ///< the current response's head
    boost::asio::ip::address peer_;
    std::string remote_;
    Phase phase_ = Phase::idle;
    base::SteadyTime phase_ends_ = base::SteadyTime::max();
    bool timed_out_ = false, peer_closed_ = false, body_done_ = true, watching_ = false;
    bool fresh_ = true;                ///< no request has come yet
    bool http_1_0_ = false;            ///< the current request is
    std::optional<Error> body_error_;  ///< why the current body could not be read
    std::function<void()> gone_;
};

}  // namespace millrace::edge::server
