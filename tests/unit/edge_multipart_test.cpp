// Uploads as they arrive: however the bytes are cut, the same parts.

#include <doctest/doctest.h>

#include <algorithm>

#include "edge/middleware/multipart.hpp"

using namespace millrace::edge::middleware;
using Event = MultipartParser::Event;

namespace {

/// "name=content;" for each part, then "end" or the error; "" while it is not over.
std::string parse(std::string_view bytes, std::size_t piece) {
    std::string out, data;
    MultipartParser parser("b");
    while (!bytes.empty()) {
        parser.feed(bytes.substr(0, piece));
        bytes.remove_prefix(std::min(piece, bytes.size()));
        for (;;) {
            const auto event = parser.next();
            if (!event) return "error";
            if (*event == Event::more) break;
            if (*event == Event::end) return out + "end";
            if (*event == Event::part) out += parser.head().name + "=";
            if (*event == Event::data) out += parser.data();
            if (*event == Event::part_end) out += ";";
        }
    }
    return out;
}

void check_any_cut(const std::string& bytes, std::string_view expected) {
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece)
        CHECK_MESSAGE(parse(bytes, piece) == expected, "in pieces of " << piece);
}

std::string part(std::string_view name, std::string_view content) {
    return "--b\r\nContent-Disposition: form-data; name=\"" + std::string(name) + "\"\r\n\r\n" +
           std::string(content) + "\r\n";
}

}  // namespace

TEST_CASE("parts, and content that looks like a boundary") {
    check_any_cut(part("x", "1") + part("y", "\r\n--\r\n-b") + "--b--\r\n",
                  "x=1;y=\r\n--\r\n-b;end");
}

TEST_CASE("an empty part, with and without a line break of its own") {
    check_any_cut(part("x", "") + "--b--", "x=;end");
    check_any_cut("--b\r\nContent-Disposition: form-data; name=x\r\n\r\n--b--\r\n", "x=;end");
}

TEST_CASE("what is not multipart is refused, however it is cut") {
    check_any_cut("--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--", "error");
    check_any_cut("--bX\r\n", "error");
    const std::string long_head = "--b\r\nX: " + std::string(5000, 'a') + "\r\n\r\n";
    const std::string long_preamble(5000, 'a');
    for (const std::size_t piece : {1UZ, 1000UZ, 20'000UZ}) {
        CHECK(parse(long_head, piece) == "error");
        CHECK(parse(long_preamble + "\r\n--b--", piece) == "error");
    }
    std::string many;
    for (std::size_t i = 0; i <= MultipartParser::k_parts_max; ++i) many += part("x", "");
    CHECK(parse(many, many.size()) == "error");
}

TEST_CASE("the boundary of a content type") {
    CHECK(multipart_boundary("multipart/form-data; boundary=abc") == "abc");
    CHECK(multipart_boundary("Multipart/Form-Data; charset=x; Boundary=\"a b\"") == "a b");
    CHECK_FALSE(multipart_boundary("multipart/form-data"));
    CHECK_FALSE(multipart_boundary("multipart/mixed; boundary=abc"));
    CHECK_FALSE(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'a')));
}
