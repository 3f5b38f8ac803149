#pragma once
// /livez, /readyz and /metrics on a port of their own: small, bounded, and telling the truth.

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <string>
#include <vector>

#include "shared/async/task_group.hpp"

namespace millrace::service {

class HealthServer {
 public:
    struct Answers {
        std::function<std::vector<std::string>()> ready;  ///< names of the checks that fail
        std::function<std::string()> metrics;
    };

    /// Throws std::system_error when the address cannot be bound (start-up only).
    HealthServer(Executor executor, const std::string& address, std::uint16_t port,
                 Answers answers);

    Task<void> serve();
    [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
    using Tcp = boost::asio::ip::tcp;
    using Socket = boost::asio::basic_stream_socket<Tcp, Executor>;
    Task<void> answer(Socket socket);
    [[nodiscard]] std::string response(std::string_view request) const;

    boost::asio::basic_socket_acceptor<Tcp, Executor> acceptor_;
    Answers answers_;
};

}  // namespace millrace::service
