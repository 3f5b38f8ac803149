#pragma once
// The HTTP port: what a request, a response and an event stream are to the rest of the edge. No
// Beast here.

#include <any>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::edge::server {

/// `other`: methods that are known and allowed nowhere, TRACE and QUERY.
enum class Method : std::uint8_t { get, head, post, put, patch, del, options, other };
inline constexpr std::size_t k_methods = 8;
[[nodiscard]] std::string_view to_string(Method method) noexcept;

/// A request body that is read as it arrives (uploads).
class BodyStream {
 public:
    virtual ~BodyStream() = default;
    /// Next bytes (valid until the next call); empty at the end. `too_large`, `timeout` (too slow),
    /// `cancelled` (client gone), `invalid` (bad chunk framing).
    virtual Task<Result<std::string_view>> read() = 0;
};

/// First value of a name in application/x-www-form-urlencoded text, decoded; nullopt when absent or
/// not valid UTF-8.
[[nodiscard]] std::optional<std::string> form_value(std::string_view text, std::string_view name);

/// Views point into the connection's buffers: valid until the handler has returned its response.
struct Request {
    Method method = Method::get;
    std::string_view target;  ///< as sent, origin-form
    std::string_view path;    ///< before '?'; not decoded
    std::string_view query;   ///< after '?', may be empty
    std::vector<std::pair<std::string_view, std::string_view>> headers;
    std::string_view body;         ///< whole, unless the route streams it
    BodyStream* stream = nullptr;  ///< only on routes that stream their body
    std::string_view remote_address;
    std::vector<std::string_view> params;  ///< the route's {…} segments in order, not decoded
    std::any context;                      ///< what middleware attaches

    /// First value of a header, name compared without case; empty when absent.
    [[nodiscard]] std::string_view header(std::string_view name) const noexcept;
    /// First value of a query parameter, percent-decoded; nullopt when absent or not valid UTF-8.
    [[nodiscard]] std::optional<std::string> query_param(std::string_view name) const;

    /// True once the client has closed its side while the handler runs (watched only after
    /// watch_client()).
    class ClientWatch;
    ClientWatch* client = nullptr;
};

/// Lets a handler that holds a request open learn that its client has gone.
class Request::ClientWatch {
 public:
    virtual ~ClientWatch() = default;
    /// Calls `on_gone` at most once, from the io thread, when the peer closes or resets; replaced
    /// or cleared with nullptr.
    virtual void on_gone(std::function<void()> callback) = 0;
};

/// One open Server-Sent Events response. Lives in the server; valid from EventFeed::start() to
/// EventFeed::stopped().
class EventSink {
 public:
    virtual ~EventSink() = default;
    /// Queues one or more complete frames ("id: …\nevent: …\ndata: …\n\n"), shared between clients.
    /// A client whose queue passes its cap is dropped: it resumes by id.
    virtual void send(std::shared_ptr<const std::string> frames) = 0;
    /// Ends the response once the queue is written.
    virtual void finish() = 0;
};

/// The application's side of an event stream.
class EventFeed {
 public:
    virtual ~EventFeed() = default;
    virtual void start(EventSink& sink) = 0;
    /// The stream is over (client gone, finished, dropped, drained); the sink must not be used
    /// again.
    virtual void stopped() noexcept = 0;
};

struct Response {
    int status = 200;
    std::vector<std::pair<std::string, std::string>>
        headers;                     ///< without Content-Length, Date, Connection: the server's
    std::string_view fixed_headers;  ///< more of them as complete lines, in static storage
    std::string content_type = "application/json";
    std::string body;
    std::unique_ptr<EventFeed>
        feed;  ///< set: an event stream follows, body is sent first as its opening frames
};

/// Decided from the head alone, before any body byte is read.
struct BodyPlan {
    std::uint64_t bytes_max = 1ULL << 20;
    bool stream = false;
};

/// The edge behind the listener. One thread; must outlive the server.
class Application {
 public:
    virtual ~Application() = default;
    virtual BodyPlan plan(const Request& head) = 0;
    virtual Task<Response> handle(Request& request) = 0;
    /// Errors found by the server itself (framing, limits, time-outs) in the words of the surface
    /// that owns the path; `head` is null when there is no usable target.
    virtual Response render(const Request* head, const Error& error, int status) = 0;
};

struct ServerOptions {
    std::string bind_address = "127.0.0.1";
    std::uint16_t port = 0;  ///< 0 = any; see Server::port()
    std::size_t connections_max = 10'000;
    std::size_t connections_per_address_max = 100;  ///< loopback is not counted; 0: no limit
    std::size_t buffered_bodies_bytes_max = 256 * 1024 * 1024;  ///< of all connections together
    std::size_t header_bytes_max = 8192;
    std::size_t header_fields_max = 64;
    std::size_t target_bytes_max = 4096;
    std::chrono::milliseconds header_timeout{10'000};
    std::chrono::milliseconds body_timeout{
        30'000};  ///< for buffered bodies; streams: at least 1 KiB/s after 5 s
    std::chrono::milliseconds idle_timeout{60'000};
    std::chrono::milliseconds send_timeout{20'000};
    std::chrono::milliseconds heartbeat{15'000};
    std::size_t event_queue_bytes_max = 256 * 1024;
    /// What the kernel may hold per connection for a client that does not read; left to itself it
    /// grows to megabytes. It keeps twice this, its own bookkeeping included.
    int send_buffer_bytes = 128 * 1024;
    std::size_t event_streams_max = 8'000;
};

struct ServerStats {
    std::uint64_t connections = 0, accepted_total = 0, requests_total = 0, event_streams = 0,
                  refused_total = 0;
};

/// How short memory is. high: no new event streams; critical: no new connections.
enum class Pressure : std::uint8_t { none, high, critical };

class Server {
 public:
    virtual ~Server() = default;
    [[nodiscard]] virtual std::uint16_t port() const = 0;
    [[nodiscard]] virtual ServerStats stats() const = 0;
    virtual void set_pressure(Pressure pressure) = 0;
    /// First phase of a stop: no new connections, `Connection: close` on every answer, idle
    /// connections closed, event streams told to reconnect (spread over 3 s). Returns when no
    /// connection is left or the deadline has passed.
    virtual Task<void> drain(Deadline deadline) = 0;
    /// Second phase: cut what is left. The server may be destroyed once this has returned.
    virtual Task<void> stop() = 0;
};

/// Listens at once; throws std::system_error when the address cannot be bound (start-up only).
std::unique_ptr<Server> make_server(Executor executor, Application& application,
                                    ServerOptions options);

}  // namespace millrace::edge::server
