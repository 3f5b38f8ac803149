#include "tests/support/tcp_proxy.hpp"

#include <sys/socket.h>

#include <array>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/basic_resolver.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <exception>
#include <optional>
#include <vector>

#include "shared/async/event.hpp"

namespace millrace::tests {

namespace {

using Tcp = asio::ip::tcp;
using Socket = asio::basic_stream_socket<Tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<Tcp, Executor>;
using Resolver = asio::ip::basic_resolver<Tcp, Executor>;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

struct Pair {
    explicit Pair(Executor executor) : client(executor), server(executor) {}
    Socket client, server;

    void reset() {
        for (auto* socket : {&client, &server}) {
            boost::system::error_code ec;
            socket->set_option(asio::socket_base::linger(true, 0), ec);
            socket->close(ec);
        }
    }
};
using PairPtr = std::shared_ptr<Pair>;

void rethrow(std::exception_ptr died) {
    if (died) std::rethrow_exception(died);
}

}  // namespace

ServerUrl ServerUrl::parse(std::string_view url) {
    const auto scheme = url.find("://");
    check(scheme != std::string_view::npos, "the URL has a scheme");
    auto path = url.find('/', scheme + 3);
    if (path == std::string_view::npos) path = url.size();
    const auto authority = url.substr(0, path);
    const auto user = authority.rfind('@');
    const auto begin = user == std::string_view::npos ? scheme + 3 : user + 1;
    const auto colon = authority.rfind(':');
    check(colon != std::string_view::npos && colon > begin, "the URL has a port");
    ServerUrl out{.before = std::string(url.substr(0, begin)),
                  .host = std::string(url.substr(begin, colon - begin)),
                  .after = std::string(url.substr(path))};
    const auto digits = authority.substr(colon + 1);
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), out.port);
    check(ec == std::errc{} && end == digits.data() + digits.size(), "the URL's port is a number");
    return out;
}

std::string ServerUrl::at(std::uint16_t other_port) const {
    return before + "127.0.0.1:" + std::to_string(other_port) + after;
}

struct TcpProxy::State : std::enable_shared_from_this<TcpProxy::State> {
    State(Executor e, std::string host, std::uint16_t port) : executor(e), reserved(e), thawed(e) {
        Resolver resolver(executor);
        target = resolver.resolve(host, std::to_string(port)).begin()->endpoint();
        thawed.set();
        open_port(reserved,
                  0);  // bound and never listening: keeps the port while the server is away
        here = reserved.local_endpoint().port();
    }

    static void open_port(Acceptor& acceptor, std::uint16_t port) {
        acceptor.open(Tcp::v4());
        acceptor.set_option(ReusePort(true));
        acceptor.bind({asio::ip::address_v4::loopback(), port});
    }

    void listen() {
        acceptor.emplace(executor);
        open_port(*acceptor, here);
        acceptor->listen();
        accept_next();
    }

    void accept_next() {
        auto pair = std::make_shared<Pair>(executor);
        acceptor->async_accept(
            pair->client, [self = shared_from_this(), pair](const boost::system::error_code& ec) {
                if (ec || self->closed || !self->acceptor) return;
                ++self->accepted;
                self->pairs.push_back(pair);
                asio::co_spawn(self->executor, begin(self, pair), rethrow);
                self->accept_next();
            });
    }

    static Task<void> begin(std::shared_ptr<State> self, PairPtr pair) {
        const auto [ec] = co_await pair->server.async_connect(self->target, async::use_result);
        if (ec || !pair->client.is_open()) {
            self->drop(pair);
            co_return;
        }
        pair->client.set_option(Tcp::no_delay(true));
        pair->server.set_option(Tcp::no_delay(true));
        asio::co_spawn(self->executor, pump(self, pair, &pair->client, &pair->server), rethrow);
        asio::co_spawn(self->executor, pump(self, pair, &pair->server, &pair->client), rethrow);
    }

    static Task<void> pump(std::shared_ptr<State> self, PairPtr pair, Socket* from, Socket* to) {
        std::array<char, 16384> buffer{};
        const auto forever = Deadline::at(base::SteadyTime::max());
        for (;;) {
            const auto [ec, size] =
                co_await from->async_read_some(asio::buffer(buffer), async::use_result);
            while (!self->thawed.is_set()) co_await self->thawed.wait(forever);
            if (ec || !to->is_open()) break;
            if (to == &pair->server) self->to_server += size;
            const auto [failed, written] = co_await asio::async_write(
                *to, asio::buffer(buffer.data(), size), async::use_result);
            if (failed) break;
            check(written == size, "a write is whole or fails");
        }
        self->drop(pair);  // neither PostgreSQL nor Redis nor HTTP needs half-closed connections
    }

    /// One side has ended: the other hears of it the ordinary way.
    void drop(const PairPtr& pair) {
        boost::system::error_code ec;
        pair->client.close(ec);
        pair->server.close(ec);
        std::erase(pairs, pair);
    }

    void cut() {
        for (const auto& pair : std::exchange(pairs, {})) pair->reset();
    }

    Executor executor;
    Tcp::endpoint target;
    Acceptor reserved;
    std::optional<Acceptor> acceptor;
    std::uint16_t here = 0;
    async::Event thawed;
    std::vector<PairPtr> pairs;
    std::size_t accepted = 0;
    std::uint64_t to_server = 0;
    bool closed = false;
};

TcpProxy::TcpProxy(Executor executor, std::string host, std::uint16_t port)
    : state_(std::make_shared<State>(std::move(executor), std::move(host), port)) {
    state_->listen();
}

TcpProxy::~TcpProxy() {
    state_->closed = true;
    state_->acceptor.reset();
    state_->cut();
    state_->thawed.set();
}

std::uint16_t TcpProxy::port() const noexcept {
    return state_->here;
}
void TcpProxy::cut() {
    state_->cut();
}
void TcpProxy::refuse() {
    state_->acceptor.reset();
}
void TcpProxy::accept_again() {
    if (!state_->acceptor) state_->listen();
}
void TcpProxy::freeze() {
    state_->thawed.reset();
}
void TcpProxy::thaw() {
    state_->thawed.set();
}
std::size_t TcpProxy::accepted() const noexcept {
    return state_->accepted;
}
std::size_t TcpProxy::open() const noexcept {
    return state_->pairs.size();
}
std::uint64_t TcpProxy::bytes_to_server() const noexcept {
    return state_->to_server;
}

}  // namespace millrace::tests
