#include <doctest/doctest.h>

#include "edge/web/page.hpp"

using namespace millrace;
using namespace millrace::edge;

TEST_CASE("text cannot become markup") {
    CHECK(web::escape(R"(<b a='1' c="2">&)") == "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    const auto html = web::page("</title><script>", "<p>fine</p>", "\"><i>");
    CHECK(html.find("<script>") == std::string::npos);
    CHECK(html.find("<i>") == std::string::npos);
    CHECK(html.find("<p>fine</p>") != std::string::npos);
    const auto form = web::button_form("/a", "\"><img>", "<go>", "'x'");
    CHECK(form.find("<img>") == std::string::npos);
    CHECK(form.find("<go>") == std::string::npos);
    CHECK(form.find("value=\"&#39;x&#39;\"") != std::string::npos);
}

TEST_CASE("a page has a policy of its own") {
    const auto response = web::html_response(410, "x");
    CHECK(response.status == 410);
    REQUIRE(response.headers.size() == 1);
    CHECK(response.headers[0].second.find("default-src 'none'; style-src 'sha256-") == 0);
    CHECK(response.headers[0].second.find("unsafe") == std::string::npos);
}

TEST_CASE("the language that is named first") {
    const auto locale = [](std::string_view header) {
        server::Request request;
        if (!header.empty()) request.headers.emplace_back("accept-language", header);
        return std::string(web::locale_of(request));
    };
    CHECK(locale("") == "ja");
    CHECK(locale("fr") == "ja");
    CHECK(locale("en-GB,en;q=0.9,ja;q=0.5") == "en");
    CHECK(locale("ja,en-US;q=0.7") == "ja");
}

TEST_CASE("forms come from our own pages") {
    const auto may = [](std::string_view site, std::string_view origin) {
        server::Request request;
        if (!site.empty()) request.headers.emplace_back("sec-fetch-site", site);
        if (!origin.empty()) request.headers.emplace_back("origin", origin);
        return web::require_same_origin(request, "https://app.example.com/base").has_value();
    };
    CHECK(may("", ""));
    CHECK(may("same-origin", "null"));
    CHECK(may("none", ""));
    CHECK(may("", "https://app.example.com"));
    CHECK_FALSE(may("cross-site", "https://app.example.com"));
    CHECK_FALSE(may("same-site", ""));
    CHECK_FALSE(may("", "https://app.example.com.evil.test"));
    CHECK_FALSE(may("", "https://evil.test"));
    CHECK_FALSE(may("", "null"));
}

TEST_CASE("form values are decoded") {
    CHECK(server::form_value("a=1&token=a%2Bb+c&token=2", "token") == "a+b c");
    CHECK_FALSE(server::form_value("a=1", "token"));
    CHECK_FALSE(server::form_value("token=%zz", "token"));
}
