#include "shared/service/health.hpp"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include "shared/telemetry/log.hpp"

namespace millrace::service {

namespace {
constexpr std::size_t k_request_bytes_max = 2048;
constexpr auto k_timeout = std::chrono::seconds(2);
}  // namespace

HealthServer::HealthServer(Executor executor, const std::string& address, std::uint16_t port,
                           Answers answers)
    : acceptor_(executor, Tcp::endpoint(boost::asio::ip::make_address(address), port)),
      answers_(std::move(answers)) {
    telemetry::log::info("health", {{"port", std::int64_t{this->port()}}});
}

/// One at a time, each at most two seconds: it serves an operator and a scraper, not the public.
Task<void> HealthServer::serve() {
    for (;;) {
        auto [ec, socket] = co_await acceptor_.async_accept(async::use_result);
        if (ec) {
            co_await async::delay(acceptor_.get_executor(), std::chrono::milliseconds(100));
            continue;
        }
        co_await answer(std::move(socket));
    }
}

Task<void> HealthServer::answer(Socket socket) {
    async::Timer timer(socket.get_executor(), k_timeout);
    const auto open = std::make_shared<bool>(true);
    timer.async_wait([&socket, open](const boost::system::error_code& ec) {
        if (!ec && *open) socket.cancel();
    });
    std::string request;
    bool failed = false;
    while (!failed && request.find("\r\n\r\n") == std::string::npos &&
           request.size() < k_request_bytes_max) {
        char bytes[512];
        const auto [ec, size] =
            co_await socket.async_read_some(boost::asio::buffer(bytes), async::use_result);
        failed = static_cast<bool>(ec);
        if (!ec) request.append(bytes, size);
    }
    if (!failed) {
        const auto text = response(request);
        co_await boost::asio::async_write(socket, boost::asio::buffer(text), async::use_result);
    }
    *open = false;
}

std::string HealthServer::response(std::string_view request) const {
    const auto render = [](std::string_view status, std::string_view type, std::string_view body) {
        return fmt::format(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: "
            "close\r\nCache-Control: no-store\r\n\r\n{}",
            status, type, body.size(), body);
    };
    const auto is = [request](std::string_view path) {
        return request.starts_with("GET " + std::string(path) + " ") ||
               request.starts_with("GET " + std::string(path) + "?");
    };
    if (is("/livez")) return render("200 OK", "text/plain", "ok\n");
    if (is("/metrics")) return render("200 OK", "text/plain; version=0.0.4", answers_.metrics());
    if (is("/readyz")) {
        const auto failing = answers_.ready();
        if (failing.empty())
            return render("200 OK", "application/json", "{\"status\":\"ready\",\"failing\":[]}\n");
        return render("503 Service Unavailable", "application/json",
                      fmt::format("{{\"status\":\"not ready\",\"failing\":[\"{}\"]}}\n",
                                  fmt::join(failing, "\",\"")));
    }
    return render("404 Not Found", "text/plain", "there are /livez, /readyz and /metrics\n");
}

}  // namespace millrace::service
