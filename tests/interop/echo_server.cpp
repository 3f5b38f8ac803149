// edge/server with an application that tells what it was given: method, target, and length and
// digest of the body. Lets a test compare message boundaries with other parsers. Prints its port;
// runs until killed.

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "edge/server/http.hpp"
#include "shared/base/crypto.hpp"

namespace millrace::tests {
namespace {

namespace server = edge::server;

class Echo final : public server::Application {
 public:
    server::BodyPlan plan(const server::Request& head) override {
        return {.bytes_max = 1ULL << 20, .stream = head.path.starts_with("/stream")};
    }

    Task<server::Response> handle(server::Request& request) override {
        std::string body(request.body);
        while (request.stream) {
            const auto piece = co_await request.stream->read();
            if (!piece) co_return render(&request, piece.error(), 400);
            if (piece->empty()) break;
            body += *piece;
        }
        server::Response response;
        response.body =
            fmt::format(R"({{"method":"{}","target":"{}","length":{},"digest":"{}"}})",
                        server::to_string(request.method), base::hex(base::sha256(request.target)),
                        body.size(), base::hex(base::sha256(body)));
        // HEAD has no body: the same in a header.
        response.headers.emplace_back("X-Seen", response.body);
        co_return response;
    }

    server::Response render(const server::Request*, const Error& error, int status) override {
        server::Response response;
        response.status = status;
        response.body = error.detail;
        response.content_type = "text/plain";
        return response;
    }
};

}  // namespace
}  // namespace millrace::tests

int main() {
    using namespace millrace;
    asio::io_context io(1);
    tests::Echo echo;
    const auto server = edge::server::make_server(io.get_executor(), echo, {});
    fmt::print("{}\n", server->port());
    (void)std::fflush(stdout);
    io.run();
}
