#include "edge/server/connection.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>

namespace millrace::edge::server {

namespace asio = boost::asio;

namespace {

constexpr std::size_t k_read_bytes = 4096;
constexpr std::size_t k_stream_read_bytes = 64 * 1024;
constexpr std::size_t k_method_bytes = 8;  // enough to tell HEAD from others
constexpr std::size_t k_kept_bytes_max = 16 * 1024;
constexpr std::size_t k_linger_bytes_max = 256 * 1024;
constexpr auto k_linger_max = std::chrono::seconds(2);
constexpr std::string_view k_continue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

/// A body handed to the handler as it arrives.
class Connection::Stream final : public BodyStream {
 public:
    Stream(Connection& connection, const Framing& framing, std::uint64_t bytes_max)
        : connection_(connection),
          left_(framing.content_length.value_or(0)),
          chunked_(framing.chunked),
          continue_due_(framing.expects_continue),
          decoder_(bytes_max) {
        connection_.body_done_ = !chunked_ && left_ == 0;
    }

    Task<Result<std::string_view>> read() override {
        auto piece = co_await read_piece();
        if (!piece) connection_.body_error_ = piece.error();
        co_return piece;
    }

 private:
    Task<Result<std::string_view>> read_piece() {
        while (!connection_.body_done_) {
            auto input = connection_.unread();
            if (!input.empty() || chunked_) {
                auto piece = take(input);
                connection_.consumed_ = connection_.buffer_.size() - input.size();
                if (!piece) co_return std::unexpected(std::move(piece).error());
                if (!piece->empty()) co_return *piece;
                if (connection_.body_done_) break;
            }
            const auto left = allowed();
            if (left <= left.zero())
                co_return fail(ErrorCode::timeout, "the request body did not arrive in time");
            connection_.enter(Phase::body, left);
            // Only now is it certain that somebody wants the body.
            if (std::exchange(continue_due_, false) &&
                !co_await connection_.write_all(k_continue, {}))
                co_return fail(ErrorCode::cancelled, "the client has gone");
            const auto since = std::chrono::steady_clock::now();
            CO_TRY(const auto size, co_await connection_.read_more());
            waited_ += std::chrono::steady_clock::now() - since;
            received_ += size;
        }
        connection_.enter(Phase::handling, std::chrono::hours(24));
        co_return std::string_view{};
    }

    Result<std::string_view> take(std::string_view& input) {
        if (!chunked_) {
            const auto piece = input.substr(0, left_);
            input.remove_prefix(piece.size());
            left_ -= piece.size();
            connection_.body_done_ = left_ == 0;
            return piece;
        }
        switch (decoder_.next(input)) {
            case ChunkedDecoder::Event::data:
                return decoder_.data();
            case ChunkedDecoder::Event::more:
                return std::string_view{};
            case ChunkedDecoder::Event::end:
                connection_.body_done_ = true;
                return std::string_view{};
            case ChunkedDecoder::Event::too_large:
                return fail(ErrorCode::too_large, "the request body is too large");
            case ChunkedDecoder::Event::invalid:
                break;
        }
        return fail(ErrorCode::invalid, "the chunked body is malformed");
    }

    /// How long the client may still keep us waiting: at least 1 KiB/s after the first 5 s. The
    /// time that the body's reader takes is not the client's.
    [[nodiscard]] std::chrono::nanoseconds allowed() const {
        return std::chrono::seconds(5) + std::chrono::seconds(received_ / 1024 + 1) - waited_;
    }

    Connection& connection_;
    std::uint64_t left_;
    bool chunked_, continue_due_;
    ChunkedDecoder decoder_;
    std::uint64_t received_ = 0;
    std::chrono::nanoseconds waited_{};
};

Connection::Connection(Socket socket, Shared& shared)
    : socket_(std::move(socket)), shared_(shared) {
    boost::system::error_code ec;
    socket_.non_blocking(true, ec);
    socket_.set_option(asio::ip::tcp::no_delay(true), ec);
    socket_.set_option(Socket::send_buffer_size(shared.options.send_buffer_bytes), ec);
    const auto peer = socket_.remote_endpoint(ec);
    if (ec) return;
    peer_ = peer.address();
    remote_ = peer_.to_string();
}

void Connection::enter(Phase phase, std::chrono::nanoseconds limit) {
    phase_ = phase;
    timed_out_ = false;
    phase_ends_ = std::chrono::steady_clock::now() +
                  std::chrono::duration_cast<std::chrono::steady_clock::duration>(limit);
}

void Connection::tick(base::SteadyTime now) {
    if (now < phase_ends_) return;
    timed_out_ = true;  // and again at the next tick: this read may just have ended well
    boost::system::error_code ignored;
    socket_.cancel(ignored);
}

void Connection::close_if_idle() {
    if (phase_ == Phase::idle) cut();
}

void Connection::cut() {
    phase_ = Phase::closing;
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_both, ignored);
    socket_.close(ignored);
}

Task<void> Connection::run() {
    try {
        co_await serve();
    } catch (const std::exception&) {
        // The application's own failures are answered in serve_request(): here a socket has ended.
        phase_ = Phase::closing;
    }
    drop_body();
    boost::system::error_code ignored;
    socket_.close(ignored);
}

Task<void> Connection::serve() {
    while (socket_.is_open()) {
        const bool idle = unread().empty();
        if (idle) give_memory_back();
        // Who has just come has no reason to be silent.
        enter(idle ? Phase::idle : Phase::head, idle && !std::exchange(fresh_, false)
                                                    ? shared_.options.idle_timeout
                                                    : shared_.options.header_timeout);
        if (!co_await read_head()) co_return;
        if (!co_await serve_request()) co_return;
        if (shared_.draining) co_return;
    }
}

/// Between requests a connection keeps no more than a small buffer.
void Connection::give_memory_back() {
    consumed_ = 0;
    buffer_.clear();
    drop_body();
    if (buffer_.capacity() > k_kept_bytes_max) buffer_.shrink_to_fit();
    if (body_.capacity() > k_kept_bytes_max) body_.shrink_to_fit();
}

void Connection::drop_body() {
    shared_.buffered_bodies_bytes -= body_.size();
    body_.clear();
}

/// Reads up to the empty line into head_. False: the connection is over.
Task<bool> Connection::read_head() {
    bool tolerated = false;
    std::size_t seen = 0;
    for (;;) {
        // One empty line before the request line is tolerated (RFC 9112 §2.2).
        if (!tolerated && unread().starts_with("\r\n")) {
            consumed_ += 2;
            seen = 0;
            tolerated = true;
        }
        const auto rest = unread();
        const auto end = rest.find("\r\n\r\n", seen < 3 ? 0 : seen - 3);
        const auto size = end == std::string_view::npos ? rest.size() : end + 4;
        if (size > shared_.options.header_bytes_max) {
            const auto line = rest.find("\r\n");
            const bool long_target =
                line == std::string_view::npos || line > shared_.options.header_bytes_max;
            co_return co_await refuse_start(ErrorCode::too_large, "the request head is too large",
                                            long_target ? 414 : 431);
        }
        if (end != std::string_view::npos) {
            head_.assign(rest.substr(0, size));
            consumed_ += size;
            co_return true;
        }
        if (is_hopeless(rest, seen))
            co_return co_await refuse_start(ErrorCode::invalid, "this is not HTTP/1.1", 400);
        seen = rest.size();
        const bool began = !rest.empty();
        auto more = co_await read_more();
        if (!more && timed_out_ && began) {
            co_return co_await refuse_start(ErrorCode::timeout,
                                            "the request head did not arrive in time", 408);
        }
        if (!more) co_return false;
        if (!began) enter(Phase::head, shared_.options.header_timeout);
    }
}

/// More bytes into buffer_; how many.
Task<Result<std::size_t>> Connection::read_more() {
    if (consumed_ > 0 && consumed_ == buffer_.size()) {
        buffer_.clear();
        consumed_ = 0;
    }
    if (consumed_ > k_stream_read_bytes) {
        buffer_.erase(0, consumed_);
        consumed_ = 0;
    }
    const auto before = buffer_.size();
    const auto want = phase_ == Phase::body ? k_stream_read_bytes : k_read_bytes;
    buffer_.resize(before + want);
    const auto [ec, size] = co_await socket_.async_read_some(
        asio::buffer(buffer_.data() + before, want), async::use_result);
    buffer_.resize(before + (ec ? 0 : size));
    if (ec && timed_out_) co_return fail(ErrorCode::timeout, "the request did not arrive in time");
    if (ec) co_return fail(ErrorCode::cancelled, "the client has gone");
    co_return size;
}

Task<bool> Connection::serve_request() {
    ++shared_.stats.requests_total;
    const auto framing =
        check_head(head_, {shared_.options.header_fields_max, shared_.options.target_bytes_max});
    http_1_0_ = framing && framing->http_1_0;
    if (framing && framing->later_minor) head_[head_.find("\r\n") - 1] = '1';
    if (!framing)
        co_return co_await refuse(nullptr, ErrorCode::invalid, framing.error().why,
                                  framing.error().status);
    Request request;
    if (!parser_.parse(head_, *framing, request))
        co_return co_await refuse(nullptr, ErrorCode::invalid, "the request head is malformed",
                                  400);
    request.remote_address = remote_;
    const auto plan = shared_.application.plan(request);
    if (framing->content_length.value_or(0) > plan.bytes_max) {
        co_return co_await refuse(&request, ErrorCode::too_large, "the request body is too large",
                                  413);
    }
    const bool has_body = framing->chunked || framing->content_length.value_or(0) > 0;
    body_done_ = !has_body;
    body_error_.reset();
    Stream stream(*this, *framing, plan.bytes_max);
    drop_body();
    if (plan.stream) {
        request.stream = &stream;
    } else if (has_body) {
        const auto read = co_await read_body(*framing, plan);
        if (!read) co_return co_await refuse_body(request, read.error());
        request.body = body_;
    }
    if (request.target == "*") {
        Response options;
        options.status = 204;
        options.headers.emplace_back("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        co_return co_await answer(&request, std::move(options), framing->keep_alive);
    }
    co_return co_await run_application(request, *framing);
}

Task<bool> Connection::run_application(Request& request, const Framing& framing) {
    request.client = this;
    enter(Phase::handling, std::chrono::hours(24));
    std::optional<Response> response;
    std::string thrown;
    try {
        response = co_await shared_.application.handle(request);
    } catch (const std::exception& e) {
        thrown = e.what();
    }
    on_gone(nullptr);
    // A handler cannot know that a body which it could not read was the client's fault.
    if (body_error_) co_return co_await refuse_body(request, *body_error_);
    if (!response)
        response = shared_.application.render(&request,
                                              Error{.code = ErrorCode::internal,
                                                    .detail = "something went wrong here",
                                                    .log = thrown,
                                                    .field = {},
                                                    .reason = {}},
                                              500);
    co_return co_await answer(&request, std::move(*response), framing.keep_alive && !peer_closed_);
}

/// Refuses a head that is not complete.
Task<bool> Connection::refuse_start(ErrorCode code, std::string_view why, int status) {
    head_.assign(unread().substr(0, k_method_bytes));
    co_return co_await refuse(nullptr, code, why, status);
}

Task<bool> Connection::refuse_body(const Request& request, Error why) {
    if (why.code == ErrorCode::cancelled) co_return false;
    const int status = why.code == ErrorCode::timeout       ? 408
                       : why.code == ErrorCode::too_large   ? 413
                       : why.code == ErrorCode::unavailable ? 503
                                                            : 400;
    co_return co_await refuse(&request, why.code, why.detail, status);
}

Task<Result<void>> Connection::read_body(const Framing& framing, const BodyPlan& plan) {
    Stream stream(*this, framing, plan.bytes_max);
    const auto deadline = Deadline::in(shared_.options.body_timeout);
    for (;;) {
        CO_TRY(const auto piece, co_await stream.read());
        if (piece.empty()) co_return Result<void>{};
        body_ += piece;
        shared_.buffered_bodies_bytes += piece.size();
        if (shared_.buffered_bodies_bytes > shared_.options.buffered_bodies_bytes_max)
            co_return fail(ErrorCode::unavailable, "too many large requests at once");
        if (deadline.passed())
            co_return fail(ErrorCode::timeout, "the request body did not arrive in time");
    }
}

Task<bool> Connection::refuse(const Request* request, ErrorCode code, std::string_view why,
                              int status) {
    ++shared_.stats.refused_total;
    body_done_ = false;  // never to be reused
    auto response = shared_.application.render(
        request,
        Error{.code = code, .detail = std::string(why), .log = {}, .field = {}, .reason = {}},
        status);
    co_await answer(request, std::move(response), false);
    co_return false;
}

Task<bool> Connection::answer(const Request* request, Response response, bool keep_alive) {
    keep_alive = keep_alive && body_done_ && !shared_.draining;
    // A refused head has no Request, but what it asked for still decides.
    const bool head_only = request ? request->method == Method::head : head_.starts_with("HEAD ");
    if (response.feed && !head_only && !shared_.room_for_events())
        response = shared_.application.render(request,
                                              Error{.code = ErrorCode::unavailable,
                                                    .detail = "too many event streams are open",
                                                    .log = {},
                                                    .field = {},
                                                    .reason = {}},
                                              503);
    const bool streams = response.feed && !head_only;
    const bool bodyless = head_only || response.status == 204 || response.status == 304;
    out_.clear();
    append_head(
        out_, response,
        {.date = shared_.date, .keep_alive = keep_alive && !streams, .http_1_0 = http_1_0_});
    enter(Phase::writing, shared_.options.send_timeout);
    if (!co_await write_all(out_, bodyless ? std::string_view{} : std::string_view(response.body)))
        co_return false;
    if (streams) {
        enter(Phase::closing, std::chrono::hours(24 * 365));
        shared_.adopt_events(std::move(socket_), std::move(response.feed));
        co_return false;
    }
    if (!keep_alive) co_await linger();
    co_return keep_alive;
}

/// Head and body in one call where the socket takes them, which it nearly always does.
Task<bool> Connection::write_all(std::string_view head, std::string_view body) {
    while (!head.empty() || !body.empty()) {
        const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head.data(), head.size()),
                                                           asio::buffer(body.data(), body.size())};
        boost::system::error_code ec;
        auto written = socket_.write_some(buffers, ec);
        if (ec == asio::error::would_block) {
            const auto [failed] =
                co_await socket_.async_wait(Socket::wait_write, async::use_result);
            if (failed) co_return false;
            continue;
        }
        if (ec) co_return false;
        const auto of_head = std::min(written, head.size());
        head.remove_prefix(of_head);
        body.remove_prefix(written - of_head);
    }
    co_return true;
}

/// Lets the client read the answer before the connection goes: a close with unread bytes would
/// reset it.
Task<void> Connection::linger() {
    boost::system::error_code ec;
    socket_.shutdown(Socket::shutdown_send, ec);
    if (ec) co_return;
    enter(Phase::closing, k_linger_max);
    std::size_t drained = 0;
    buffer_.resize(k_read_bytes);
    while (drained < k_linger_bytes_max && !timed_out_) {
        const auto [failed, size] =
            co_await socket_.async_read_some(asio::buffer(buffer_), async::use_result);
        if (failed) break;
        drained += size;
    }
}

void Connection::on_gone(std::function<void()> callback) {
    gone_ = std::move(callback);
    if (gone_) watch_peer();
}

/// A client that closes its side while it waits has gone: no client that we serve half-closes and
/// still listens.
void Connection::watch_peer() {
    if (std::exchange(watching_, true)) return;
    socket_.async_wait(
        Socket::wait_read, [self = shared_from_this()](const boost::system::error_code& ec) {
            self->watching_ = false;
            if (ec || !self->gone_) return;
            char byte = 0;
            const auto got =
                ::recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
            if (got > 0) return;  // a pipelined request: nothing more can be learnt
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
                return self->watch_peer();
            self->peer_closed_ = true;
            if (auto gone = std::exchange(self->gone_, nullptr)) gone();
        });
}

}  // namespace millrace::edge::server
