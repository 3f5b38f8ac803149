// The route table, and what is read from a URL.

#include <doctest/doctest.h>

#include "edge/server/router.hpp"

using namespace millrace::edge::server;

namespace {
Router table() {
    Router out;
    out.add(Method::get, "/a", 0);
    out.add(Method::post, "/a", 1);
    out.add(Method::get, "/a/{id}", 2);
    out.add(Method::get, "/a/mine", 3);
    out.add(Method::del, "/a/{id}/b/{name}", 4);
    return out;
}
}  // namespace

TEST_CASE("a literal beats a parameter, and parameters come in order") {
    const auto routes = table();
    CHECK(routes.find(Method::get, "/a").index == 0);
    CHECK(routes.find(Method::get, "/a/mine").index == 3);
    const auto one = routes.find(Method::get, "/a/x%2Fy");
    CHECK(one.index == 2);
    CHECK(one.params == std::vector<std::string_view>{"x%2Fy"});
    const auto two = routes.find(Method::del, "/a/1/b/2");
    CHECK(two.index == 4);
    CHECK(two.params == std::vector<std::string_view>{"1", "2"});
}

TEST_CASE("HEAD is served by GET; other methods are named in Allow") {
    const auto routes = table();
    CHECK(routes.find(Method::head, "/a").index == 0);
    const auto wrong = routes.find(Method::put, "/a");
    CHECK(wrong.kind == Match::Kind::method_not_allowed);
    CHECK(wrong.allow == "GET, HEAD, OPTIONS, POST");
}

TEST_CASE("paths are matched as they are") {
    const auto routes = table();
    for (const char* path : {"", "/", "a", "/a/", "//a", "/a//b/2", "/A", "/a/../a", "/%61",
                             "/a/1/b", "/a/1/b/2/3", "/a/1/b/"})
        CHECK_MESSAGE(routes.find(Method::get, path).kind == Match::Kind::not_found, path);
}

TEST_CASE("percent-decoding gives text or nothing") {
    CHECK(percent_decode("a%20b+c", true) == "a b c");
    CHECK(percent_decode("a+c", false) == "a+c");
    CHECK(percent_decode("%E6%97%A5", false) == "日");
    for (const char* bad : {"%", "%4", "%zz", "%00", "%ff", "%C0%AF"})
        CHECK_MESSAGE(!percent_decode(bad, true), bad);
}

TEST_CASE("query parameters and headers: the first one counts") {
    Request request;
    request.query = "a=1&b=%20x&a=2&c&d=%ff";
    CHECK(request.query_param("a") == "1");
    CHECK(request.query_param("b") == " x");
    CHECK(request.query_param("c") == "");
    CHECK_FALSE(request.query_param("d"));
    CHECK_FALSE(request.query_param("e"));
    request.headers = {{"X-A", "1"}, {"x-a", "2"}};
    CHECK(request.header("x-A") == "1");
    CHECK(request.header("x-").empty());
}
