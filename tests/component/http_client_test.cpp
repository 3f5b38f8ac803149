// shared/http_client against a server on loopback that says exactly what each test scripts.

#include "shared/http_client/http_client.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "tests/support/http_server.hpp"
#include "tests/support/kafka_loop.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using http_client::Profile;
using http_client::Request;
using http_client::Response;
using millrace::tests::HttpServer;
using millrace::tests::Loop;
using Do = HttpServer::Do;

namespace {

using Clock = std::chrono::steady_clock;
using Answer = Result<Response>;

std::string with_length(std::string_view body, std::string_view head = "HTTP/1.1 200 OK\r\n") {
    return std::string(head) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           std::string(body);
}

struct Bench {
    Loop loop{};
    HttpServer server{loop.executor()};
    std::unique_ptr<http_client::Client> client = http_client::make_client(loop.executor(), {});

    Request request(std::string method = "GET") const {
        return {.method = std::move(method),
                .url = server.url("/path?q=1"),
                .profile = Profile::operator_configured};
    }
    Answer send(Request what, std::chrono::milliseconds within = 10s) {
        return loop.run(client->send(std::move(what), Deadline::in(within)));
    }
};

struct Running {
    std::optional<Answer> value{};
    bool threw = false;
};
std::shared_ptr<Running> start(Loop& loop, Task<Answer> task, asio::cancellation_slot slot = {}) {
    auto running = std::make_shared<Running>();
    asio::co_spawn(
        loop.executor(), std::move(task),
        asio::bind_cancellation_slot(slot, [running](std::exception_ptr thrown, Answer value) {
            running->threw = thrown != nullptr;
            running->value.emplace(std::move(value));
        }));
    return running;
}

const base::Error& error_of(const Answer& answer) {
    REQUIRE_FALSE(answer.has_value());
    return answer.error();
}

}  // namespace

TEST_CASE("status, headers and body of an answer; method, path, headers and body of a request") {
    Bench bench;
    const std::string binary("a\0b\xff\n", 5);
    bench.server.script({with_length(binary,
                                     "HTTP/1.1 418 I'm a teapot\r\nX-Mixed-CASE:  spaced "
                                     "\r\nEmpty:\r\nTwice: 1\r\nTwice: 2\r\n")});
    auto request = bench.request("POST");
    request.headers = {{"Authorization", "Bearer x"}, {"Content-Type", "application/json"}};
    request.body = std::string("{\"a\":\0}", 7);
    const auto answer = bench.send(request);
    REQUIRE_MESSAGE(answer.has_value(), answer.error().log);
    CHECK(answer->status == 418);
    CHECK(answer->body == binary);
    CHECK(answer->header("x-mixed-case").substr(0, 6) == "spaced");
    CHECK(answer->header("empty").empty());
    CHECK(answer->header("twice") == "1");
    CHECK(answer->header("absent").empty());
    CHECK(std::ranges::count(answer->headers, "twice", [](const auto& h) { return h.first; }) == 2);

    REQUIRE(bench.server.requests().size() == 1);
    const auto& said = bench.server.requests()[0];
    CHECK(said.starts_with("POST /path?q=1 HTTP/1.1\r\n"));
    CHECK(said.find("\r\nAuthorization: Bearer x\r\n") != std::string::npos);
    CHECK(said.find("\r\nContent-Type: application/json\r\n") != std::string::npos);
    CHECK(said.find("Expect:") == std::string::npos);
    CHECK(said.ends_with(request.body));
}

TEST_CASE("methods") {
    Bench bench;
    for (const std::string method : {"GET", "PUT", "DELETE", "PATCH"}) {
        bench.server.script({with_length(method)});
        const auto answer = bench.send(bench.request(method));
        REQUIRE(answer.has_value());
        CHECK(answer->body == method);
        CHECK(bench.server.requests().back().starts_with(method + " /path"));
    }
    bench.server.script({"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"});
    const auto head = bench.send(bench.request("HEAD"));
    REQUIRE(head.has_value());
    CHECK(head->body.empty());
    CHECK(head->header("content-length") == "1000");
    CHECK(bench.server.requests().back().starts_with("HEAD "));
    bench.server.script({"HTTP/1.1 204 No Content\r\n\r\n"});
    CHECK(bench.send(bench.request()).value().status == 204);
}

TEST_CASE("an interim answer does not mix its headers into the real one") {
    Bench bench;
    bench.server.script({"HTTP/1.1 103 Early Hints\r\nLink: early\r\n\r\n" + with_length("real")});
    const auto answer = bench.send(bench.request());
    REQUIRE_MESSAGE(answer.has_value(), answer.error().log);
    CHECK(answer->status == 200);
    CHECK(answer->body == "real");
    CHECK(answer->header("link").empty());
}

TEST_CASE("a line break in a header is refused before anything is sent") {
    Bench bench;
    bench.server.script({with_length("x")});
    for (const std::string bad : {"a\r\nInjected: 1", "a\nb", "a\r", "\n"}) {
        auto request = bench.request();
        request.headers = {{"X-Name", bad}};
        CHECK(error_of(bench.send(request)).code == ErrorCode::invalid);
        request.headers = {{bad, "value"}};
        CHECK(error_of(bench.send(request)).code == ErrorCode::invalid);
    }
    CHECK(bench.server.accepted() == 0);
}

TEST_CASE("a streamed body comes in pieces, in order, as it is said") {
    Bench bench;
    bench.server.script({"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
                         Do::wait, "6\r\nsecond\r\n", Do::wait, "5\r\nthird\r\n0\r\n\r\n"});
    std::string got;
    std::vector<int> statuses;
    const auto running =
        start(bench.loop, bench.client->stream(
                              bench.request(),
                              [&](int status, std::string_view bytes) -> Result<void> {
                                  got += bytes;
                                  statuses.push_back(status);
                                  return {};
                              },
                              Deadline::in(10s)));
    REQUIRE(bench.loop.until([&] { return got == "first"; }));
    CHECK_FALSE(running->value.has_value());
    bench.server.release();
    REQUIRE(bench.loop.until([&] { return got == "firstsecond"; }));
    CHECK_FALSE(running->value.has_value());
    bench.server.release();
    REQUIRE(bench.loop.until([&] { return running->value.has_value(); }));
    REQUIRE(running->value->has_value());
    CHECK(got == "firstsecondthird");
    CHECK((*running->value)->status == 201);
    CHECK((*running->value)->body.empty());
    CHECK(statuses == std::vector<int>(3, 201));
}

TEST_CASE("a body of many megabytes is streamed whole") {
    Bench bench;
    std::string body(8 << 20, '\0');
    for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 31 >> 3);
    bench.server.script({with_length(body)});
    std::string got;
    auto answer = bench.loop.run(bench.client->stream(
        bench.request(),
        [&](int, std::string_view bytes) -> Result<void> {
            got += bytes;
            return {};
        },
        Deadline::in(30s)));
    REQUIRE_MESSAGE(answer.has_value(), answer.error().log);
    CHECK(got.size() == body.size());
    CHECK((got == body));
}

TEST_CASE("an error of the receiver stops the transfer and is what the caller gets") {
    Bench bench;
    bench.server.script(
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n", Do::wait});
    const auto answer = bench.loop.run(bench.client->stream(
        bench.request(),
        [](int, std::string_view) -> Result<void> { return fail(ErrorCode::conflict, "enough"); },
        Deadline::in(10s)));
    CHECK(error_of(answer).code == ErrorCode::conflict);
    CHECK(answer.error().detail == "enough");
    REQUIRE(bench.loop.until([&] { return bench.server.open() == 0; }));
}

TEST_CASE("body_bytes_max: just so many pass, one more is too large") {
    Bench bench;
    for (const bool chunked : {false, true}) {
        CAPTURE(chunked);
        for (const std::size_t size :
             {std::size_t{1000}, std::size_t{1001}, std::size_t{1 << 20}}) {
            const std::string body(size, 'x');
            char length[20];
            const auto hex =
                std::string(length, std::to_chars(length, length + sizeof length, size, 16).ptr);
            bench.server.script({chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                                               hex + "\r\n" + body + "\r\n0\r\n\r\n"
                                         : with_length(body)});
            auto request = bench.request();
            request.body_bytes_max = 1000;
            const auto answer = bench.send(request);
            if (size == 1000) {
                REQUIRE_MESSAGE(answer.has_value(), answer.error().log);
                CHECK(answer->body.size() == 1000);
            } else {
                CHECK(error_of(answer).code == ErrorCode::too_large);
            }
        }
    }
}

TEST_CASE("no first byte in time; no further byte in time; the deadline of the whole") {
    Bench bench;
    auto request = bench.request();
    const auto begun = Clock::now();
    const auto expect_timeout = [&](std::chrono::milliseconds deadline,
                                    std::chrono::milliseconds after) {
        const auto answer = bench.send(request, deadline);
        CHECK(error_of(answer).code == ErrorCode::timeout);
        CHECK(Clock::now() - begun >= after - 10ms);
        CHECK(Clock::now() - begun < after + 1s);
        REQUIRE(bench.loop.until([&] { return bench.server.open() == 0; }));
    };
    SUBCASE("nothing at all") {
        bench.server.script({Do::wait});
        request.first_byte_timeout = 300ms;
        expect_timeout(10s, 300ms);
    }
    SUBCASE("half a head") {
        bench.server.script({"HTTP/1.1 200 OK\r\nContent-", Do::wait});
        request.first_byte_timeout = 300ms;
        expect_timeout(10s, 300ms);
    }
    SUBCASE("a body that stops") {
        bench.server.script({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", Do::wait});
        request.stall_timeout = 300ms;
        expect_timeout(10s, 300ms);
    }
    SUBCASE("the deadline is sooner than either") {
        bench.server.script({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", Do::wait});
        expect_timeout(300ms, 300ms);
    }
    // A slow answer spoils nothing for the next.
    bench.server.script({with_length("fine")});
    CHECK(bench.send(bench.request()).value().body == "fine");
}

TEST_CASE("a body that keeps coming does not stall, however long the whole takes") {
    Bench bench;
    std::vector<HttpServer::Step> steps{"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"};
    for (int i = 0; i < 8; ++i) {
        steps.emplace_back("x");
        if (i < 7) steps.emplace_back(Do::wait);
    }
    bench.server.script(std::move(steps));
    auto request = bench.request();
    request.stall_timeout = 400ms;
    std::size_t got = 0;
    const auto begun = Clock::now();
    const auto running = start(bench.loop, bench.client->stream(
                                               request,
                                               [&](int, std::string_view bytes) -> Result<void> {
                                                   got += bytes.size();
                                                   return {};
                                               },
                                               Deadline::in(10s)));
    for (std::size_t i = 1; i < 8; ++i) {
        REQUIRE(bench.loop.until([&] { return got == i; }));
        bench.loop.run_for(80ms);
        bench.server.release();
    }
    REQUIRE(bench.loop.until([&] { return running->value.has_value(); }));
    CHECK(running->value->has_value());
    CHECK(Clock::now() - begun > 500ms);
}

TEST_CASE("a connection that breaks in mid-body is unavailable, and the next request works") {
    Bench bench;
    const auto expect_broken = [&](std::vector<HttpServer::Step> steps) {
        bench.server.script(std::move(steps));
        CHECK(error_of(bench.send(bench.request())).code == ErrorCode::unavailable);
        bench.server.script({with_length("fine")});
        CHECK(bench.send(bench.request()).value().body == "fine");
    };
    expect_broken({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", Do::close});
    expect_broken({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", Do::reset});
    expect_broken(
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n", Do::close});
    expect_broken({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot-a-length\r\nfirst\r\n",
                   Do::close});
    expect_broken({"HTTP/1.1 200 OK\r\nConte", Do::reset});
}

TEST_CASE("nobody listens: unavailable; what is no URL: invalid") {
    Bench bench;
    auto request = bench.request();
    {
        const HttpServer gone(bench.loop.executor());
        request.url = gone.url();
    }
    const auto answer = bench.send(request);
    CHECK(error_of(answer).code == ErrorCode::unavailable);
    CHECK(answer.error().source == "curl:7");
    for (const std::string bad :
         {"", "http://", "ftp://127.0.0.1/", "file:///etc/passwd", "http://a b/"}) {
        request.url = bad;
        CHECK(error_of(bench.send(request)).code == ErrorCode::invalid);
    }
}

TEST_CASE("cancelling aborts the transfer") {
    Bench bench;
    bench.server.script({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", Do::wait});
    asio::cancellation_signal cancel;
    bool begun = false;
    const auto running = start(bench.loop,
                               bench.client->stream(
                                   bench.request(),
                                   [&](int, std::string_view) -> Result<void> {
                                       begun = true;
                                       return {};
                                   },
                                   Deadline::in(30s)),
                               cancel.slot());
    REQUIRE(bench.loop.until([&] { return begun; }));
    CHECK(bench.server.open() == 1);
    cancel.emit(asio::cancellation_type::terminal);
    REQUIRE(bench.loop.until([&] { return running->value.has_value(); }, 1s));
    CHECK((running->threw || !running->value->has_value()));
    REQUIRE(bench.loop.until([&] { return bench.server.open() == 0; }, 1s));
    bench.server.script({with_length("fine")});
    CHECK(bench.send(bench.request()).value().body == "fine");
}

TEST_CASE("redirects are answers, not followed") {
    Bench bench;
    const HttpServer elsewhere(bench.loop.executor());
    for (const std::string status :
         {"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"}) {
        bench.server.script(
            {with_length("", "HTTP/1.1 " + status + "\r\nLocation: " + elsewhere.url() + "\r\n")});
        const auto answer = bench.send(bench.request());
        REQUIRE(answer.has_value());
        CHECK(answer->status == std::stoi(status));
        CHECK(answer->header("location") == elsewhere.url());
    }
    CHECK(elsewhere.accepted() == 0);
}

TEST_CASE("connections are kept, and replaced when the server has closed them meanwhile") {
    Bench bench;
    bench.server.script({with_length("kept")});
    for (int i = 0; i < 5; ++i) CHECK(bench.send(bench.request()).value().body == "kept");
    CHECK(bench.server.accepted() == 1);
    bench.server.script({with_length("last"), Do::close});
    for (int i = 0; i < 5; ++i) CHECK(bench.send(bench.request()).value().body == "last");
}

TEST_CASE("no more connections than connections_max; the others wait their turn") {
    Bench bench;
    bench.client = http_client::make_client(bench.loop.executor(), {.connections_max = 2});
    bench.server.script({Do::wait, with_length("done")});
    std::vector<std::shared_ptr<Running>> requests;
    for (int i = 0; i < 6; ++i)
        requests.push_back(
            start(bench.loop, bench.client->send(bench.request(), Deadline::in(20s))));
    REQUIRE(bench.loop.until([&] { return bench.server.requests().size() == 2; }));
    REQUIRE(bench.loop.until([&] {
        bench.server.release();
        return std::ranges::all_of(requests, [](const auto& r) { return r->value.has_value(); });
    }));
    for (const auto& request : requests) CHECK(request->value->value().body == "done");
    CHECK(bench.server.open_max() == 2);
}
