// The framing guard and the chunked decoder, rule by rule. The full table of cases runs against a
// real edge in tests/interop; here is what a reader of framing.cpp wants to see first.

#include <doctest/doctest.h>

#include <string>

#include "edge/server/framing.hpp"
#include "edge/server/head.hpp"

using namespace millrace::edge::server;
using Event = ChunkedDecoder::Event;

namespace {

std::string get(std::string_view fields = "", std::string_view line = "GET / HTTP/1.1") {
    return std::string(line) + "\r\nHost: edge\r\n" + std::string(fields) + "\r\n";
}
std::string post(std::string_view fields, std::string_view version = "HTTP/1.1") {
    return get(fields, "POST / " + std::string(version));
}
int status(const std::string& head, HeadLimits limits = {}) {
    const auto framing = check_head(head, limits);
    return framing ? 200 : framing.error().status;
}

struct Decoded {
    Event end = Event::more;
    std::string body, rest;
};
Decoded decode(std::string_view bytes, std::uint64_t max = 1000) {
    Decoded out;
    ChunkedDecoder decoder(max);
    do {
        out.end = decoder.next(bytes);
        if (out.end == Event::data) out.body += decoder.data();
    } while (out.end == Event::data);
    out.rest = bytes;
    return out;
}

}  // namespace

TEST_CASE("one length or one coding, never both, never in HTTP/1.0") {
    const auto sized = post("Content-Length: 5\r\n");
    CHECK(check_head(sized, {})->content_length == 5U);
    const auto coded = post("Transfer-Encoding: Chunked\r\n");
    CHECK(check_head(coded, {})->chunked);
    CHECK(status(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")) == 400);
    CHECK(status(post("Content-Length: 5\r\nContent-Length: 5\r\n")) == 400);
    CHECK(status(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) == 400);
    CHECK(status(post("Transfer-Encoding: chunked\r\n", "HTTP/1.0")) == 400);
    CHECK(status(post("Transfer-Encoding: gzip, chunked\r\n")) == 501);
    CHECK(status(get("Transfer-Encoding: chunked\r\n")) == 400);
}

TEST_CASE("a length is digits") {
    for (const char* good : {"0", "5", "0005", "9999999999999999999"})
        CHECK_MESSAGE(status(post(std::string("Content-Length: ") + good + "\r\n")) == 200, good);
    for (const char* bad : {"", "+5", "-5", "5,5", "5 5", "0x5", "5.0", "99999999999999999999"})
        CHECK_MESSAGE(status(post(std::string("Content-Length: ") + bad + "\r\n")) == 400, bad);
}

TEST_CASE("names that another hop could read as framing") {
    CHECK(status(get("Content_Length: 5\r\n")) == 400);
    CHECK(status(get("transfer_encoding: chunked\r\n")) == 400);
    CHECK(status(get("Content-Length : 5\r\n")) == 400);
    CHECK(status(get("X_Other: 5\r\n")) == 200);
}

TEST_CASE("limits have their own statuses") {
    CHECK(status(get("A: b\r\n"), {.fields_max = 2}) == 200);
    CHECK(status(get("A: b\r\nC: d\r\n"), {.fields_max = 2}) == 431);
    CHECK(status(get("", "GET /12345 HTTP/1.1"), {.target_bytes_max = 6}) == 200);
    CHECK(status(get("", "GET /123456 HTTP/1.1"), {.target_bytes_max = 6}) == 414);
    CHECK(status(get("", "GET / HTTP/2.0")) == 505);
    CHECK(status(get("", "BREW / HTTP/1.1")) == 501);
    CHECK(status(get("Expect: more\r\n")) == 417);
}

TEST_CASE("versions and persistence") {
    const auto keep = [](const std::string& head) { return check_head(head, {})->keep_alive; };
    CHECK(keep(get()));
    CHECK_FALSE(keep(get("Connection: x, Close\r\n")));
    CHECK_FALSE(keep(get("", "GET / HTTP/1.0")));
    CHECK(keep(get("Connection: keep-alive\r\n", "GET / HTTP/1.0")));
    const auto later = get("", "GET / HTTP/1.7");
    CHECK(check_head(later, {})->later_minor);
}

TEST_CASE("hosts") {
    for (const char* good : {"a", "a:80", "a:", "127.0.0.1", "[::1]", "[::1]:80", "a%41", "a_b"})
        CHECK_MESSAGE(is_host(good), good);
    for (const char* bad :
         {"", ":80", "a b", "a,b", "u@a", "a/b", "a:x", "a:999999", "[::1", "[zz]", "[1:2]", "a%4"})
        CHECK_MESSAGE(!is_host(bad), bad);
}

TEST_CASE("what can never become a head is known at once") {
    CHECK(is_hopeless(std::string_view("\x16\x03\x01", 3), 0));
    CHECK(is_hopeless("\nGET / HTTP/1.1\r\n", 0));
    CHECK(is_hopeless("GET / HTTP/1.1\n", 0));
    CHECK(is_hopeless("GET / HTTP/1.1\r\nA: b\n", 16));
    for (const char* begun : {"", "\r", "\r\n", "G", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n"})
        CHECK_FALSE(is_hopeless(begun, 0));
}

TEST_CASE("chunks become the body, and what follows stays") {
    const auto done = decode("5\r\nhello\r\n0006;a=b;c\r\n world\r\n0\r\n\r\nGET /");
    CHECK(done.end == Event::end);
    CHECK(done.body == "hello world");
    CHECK(done.rest == "GET /");
    CHECK(decode("5\r\nhel").end == Event::more);
    CHECK(decode("0\r\n\r").end == Event::more);
}

TEST_CASE("chunk framing is exact") {
    for (const char* bad :
         {"5\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello0\r\n\r\n",
          " 5\r\nhello\r\n", "5 \r\nhello\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n", "\r\n",
          "g\r\n", "10000000000000005\r\nhello\r\n", "5;\r\nhello\r\n", "5; a\r\nhello\r\n",
          "5;a=\"b\"\r\nhello\r\n", "5\r\nhelloX\r\n", "0\r\nTrailer: x\r\n\r\n", "0\r\nX"})
        CHECK_MESSAGE(decode(bad).end == Event::invalid, bad);
    CHECK(decode("5;" + std::string(300, 'a')).end == Event::invalid);
}

TEST_CASE("the cap counts the whole body") {
    CHECK(decode("5\r\nhello\r\n0\r\n\r\n", 5).end == Event::end);
    CHECK(decode("5\r\nhello\r\n1\r\nx\r\n0\r\n\r\n", 5).end == Event::too_large);
    CHECK(decode("ffffffffffffffff\r\n", 5).end == Event::too_large);
    ChunkedDecoder decoder(1 << 30);
    std::string_view chunk;
    auto event = Event::more;
    for (std::uint32_t i = 0; i <= ChunkedDecoder::k_chunks_max && event != Event::invalid; ++i) {
        chunk = "1\r\nx\r\n";
        do event = decoder.next(chunk);
        while (event == Event::data);
        if (i == ChunkedDecoder::k_chunks_max - 1) CHECK(event == Event::more);
    }
    CHECK(event == Event::invalid);  // one chunk too many
}

TEST_CASE("the head of an answer") {
    const auto head = [](Response response, AnswerFraming framing) {
        std::string out;
        append_head(out, response, framing);
        return out;
    };
    const AnswerFraming usual{.date = "D"};
    Response ok;
    ok.body = "{}";
    ok.headers.emplace_back("X-A", "b");
    CHECK(head(std::move(ok), usual) ==
          "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
          "X-A: b\r\n\r\n");
    Response empty;
    empty.status = 204;
    CHECK(head(std::move(empty), {.date = "D", .keep_alive = false}) ==
          "HTTP/1.1 204 No Content\r\nDate: D\r\nConnection: close\r\n\r\n");
    CHECK(head({}, {.date = "D", .http_1_0 = true}) ==
          "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
}
