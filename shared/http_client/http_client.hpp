#pragma once
// Outbound HTTP over libcurl multi on the io_context. Two profiles: endpoints an operator
// configured (loopback allowed), and URLs that a user supplied (the full SSRF guard, engineering
// S11).

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::http_client {

enum class Profile : std::uint8_t { operator_configured, user_supplied };

struct Request {
    std::string method = "GET";
    std::string url;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
    Profile profile = Profile::user_supplied;
    std::chrono::milliseconds connect_timeout{3000};
    std::chrono::milliseconds first_byte_timeout{20000};
    std::chrono::milliseconds stall_timeout{15000};  ///< no body byte for this long: `timeout`
    std::uint64_t body_bytes_max = 16ULL << 20;      ///< more: `too_large`
};

struct Response {
    int status = 0;
    std::vector<std::pair<std::string, std::string>> headers;  ///< names lower-case
    std::string body;                                          ///< empty when streamed

    [[nodiscard]] std::string_view header(std::string_view name) const noexcept;
};

/// Receives body bytes as they come (status is known then). An error stops the transfer and is
/// returned to the caller.
using OnBody = std::function<Result<void>(int status, std::string_view bytes)>;

class Client {
 public:
    virtual ~Client() = default;
    /// Any HTTP status is a value. `unavailable` = could not connect or the connection broke,
    /// `timeout`, `too_large`, `forbidden` = refused by the guard, `invalid` = not a usable URL.
    /// Cancelling the task aborts the transfer.
    virtual Task<Result<Response>> send(Request request, Deadline deadline) = 0;
    virtual Task<Result<Response>> stream(Request request, OnBody on_body, Deadline deadline) = 0;
};

struct Options {
    std::size_t connections_max = 64;
    bool allow_plain_http = false;  ///< user_supplied only
    /// Tests only: "host:port:address" as CURLOPT_RESOLVE takes it, so that a name can point where
    /// the guard must refuse.
    std::vector<std::string> resolve;
};
std::unique_ptr<Client> make_client(Executor executor, Options options);

}  // namespace millrace::http_client
