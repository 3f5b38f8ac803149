#pragma once
// An HTTP/1.1 server on loopback that says, byte for byte, what a test scripts, and stops or breaks
// where it says so.

#include <array>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shared/async/event.hpp"

namespace millrace::tests {

/// Runs on the test's own loop. Every request is answered with `script`; a connection lives on
/// unless the script ends it.
class HttpServer {
 public:
    enum class Do : std::uint8_t {
        wait,   ///< until release() is called
        close,  ///< the ordinary way
        reset,  ///< the rude way
    };
    using Step = std::variant<std::string, Do>;

    explicit HttpServer(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {
        accept_next(state_);
    }
    ~HttpServer() {
        state_->acceptor.close();
        for (const auto& socket : state_->sockets) socket->close();
        state_->gate.set();
    }
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    void script(std::vector<Step> steps) { state_->script = std::move(steps); }
    /// Lets the next Do::wait of each connection pass.
    void release() { state_->gate.notify_all(); }

    [[nodiscard]] std::string url(std::string_view path = "/") const {
        return "http://127.0.0.1:" + std::to_string(port()) + std::string(path);
    }
    [[nodiscard]] std::uint16_t port() const { return state_->acceptor.local_endpoint().port(); }
    /// Whole requests, head and body, in the order of their arrival.
    [[nodiscard]] const std::vector<std::string>& requests() const noexcept {
        return state_->requests;
    }
    [[nodiscard]] std::size_t accepted() const noexcept { return state_->accepted; }
    [[nodiscard]] std::size_t open() const noexcept { return state_->sockets.size(); }
    [[nodiscard]] std::size_t open_max() const noexcept { return state_->open_max; }

 private:
    using Tcp = asio::ip::tcp;
    using Socket = asio::basic_stream_socket<Tcp, Executor>;
    using SocketPtr = std::shared_ptr<Socket>;

    struct State {
        explicit State(Executor e) : executor(e), acceptor(e), gate(e) {
            acceptor.open(Tcp::v4());
            acceptor.bind({asio::ip::address_v4::loopback(), 0});
            acceptor.listen();
        }
        Executor executor;
        asio::basic_socket_acceptor<Tcp, Executor> acceptor;
        async::Event gate;
        std::vector<Step> script;
        std::vector<std::string> requests;
        std::vector<SocketPtr> sockets;
        std::size_t accepted = 0, open_max = 0;
    };

    static void rethrow(std::exception_ptr died) {
        if (died) std::rethrow_exception(died);
    }

    static void accept_next(std::shared_ptr<State> state) {
        auto socket = std::make_shared<Socket>(state->executor);
        state->acceptor.async_accept(*socket, [state, socket](const boost::system::error_code& ec) {
            if (ec) return;
            ++state->accepted;
            state->sockets.push_back(socket);
            state->open_max = std::max(state->open_max, state->sockets.size());
            asio::co_spawn(state->executor, serve(state, socket), rethrow);
            accept_next(state);
        });
    }

    static Task<void> serve(std::shared_ptr<State> state, SocketPtr socket) {
        std::string input;
        for (bool good = true; good;) {
            const auto size = co_await request_size(*socket, input);
            if (size == 0) break;
            state->requests.push_back(input.substr(0, size));
            input.erase(0, size);
            good = co_await answer(state, socket);
        }
        std::erase(state->sockets, socket);
        boost::system::error_code ec;
        socket->close(ec);
    }

    /// Reads until `input` begins with a whole request; 0 when the client has gone.
    static Task<std::size_t> request_size(Socket& socket, std::string& input) {
        std::array<char, 8192> piece{};
        for (;;) {
            if (const auto end = input.find("\r\n\r\n"); end != std::string::npos) {
                const auto whole =
                    end + 4 + content_length(std::string_view(input).substr(0, end + 2));
                if (input.size() >= whole) co_return whole;
            }
            const auto [ec, size] =
                co_await socket.async_read_some(asio::buffer(piece), async::use_result);
            if (ec) co_return 0;
            input.append(piece.data(), size);
        }
    }

    static std::size_t content_length(std::string_view head) {
        constexpr std::string_view name = "\r\nContent-Length: ";
        const auto at = head.find(name);
        std::size_t length = 0;
        if (at != std::string_view::npos)
            std::from_chars(head.data() + at + name.size(), head.data() + head.size(), length);
        return length;
    }

    static Task<bool> answer(std::shared_ptr<State> state, SocketPtr socket) {
        for (const auto& step : std::vector<Step>(state->script)) {
            if (const auto* text = std::get_if<std::string>(&step)) {
                const auto [ec, size] =
                    co_await asio::async_write(*socket, asio::buffer(*text), async::use_result);
                if (ec) co_return false;
                continue;
            }
            switch (std::get<Do>(step)) {
                case Do::wait: {
                    // A client that leaves meanwhile is noticed: it says nothing more before its
                    // answer.
                    std::array<char, 1> nothing{};
                    const auto waiting = std::make_shared<bool>(true);
                    asio::co_spawn(state->executor, let_go(state, socket, waiting), rethrow);
                    const auto [ec, size] =
                        co_await socket->async_read_some(asio::buffer(nothing), async::use_result);
                    *waiting = false;
                    if (ec != asio::error::operation_aborted || !socket->is_open()) co_return false;
                    break;
                }
                case Do::close:
                    co_return false;
                case Do::reset: {
                    socket->set_option(asio::socket_base::linger(true, 0));
                    co_return false;
                }
            }
        }
        co_return true;
    }

    static Task<void> let_go(std::shared_ptr<State> state, SocketPtr socket,
                             std::shared_ptr<bool> waiting) {
        co_await state->gate.wait(Deadline::at(base::SteadyTime::max()));
        if (*waiting && socket->is_open()) socket->cancel();
    }

    std::shared_ptr<State> state_;
};

}  // namespace millrace::tests
