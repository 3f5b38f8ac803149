#include "edge/server/head.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <optional>

namespace millrace::edge::server {

namespace http = boost::beast::http;

struct HeadParser::Impl {
    std::optional<http::request_parser<http::empty_body>> parser;
};

HeadParser::HeadParser() : impl_(std::make_unique<Impl>()) {}
HeadParser::~HeadParser() = default;

namespace {

std::string_view view(boost::beast::string_view text) {
    return {text.data(), text.size()};
}

Method method_of(http::verb verb) {
    switch (verb) {
        case http::verb::head:
            return Method::head;
        case http::verb::post:
            return Method::post;
        case http::verb::put:
            return Method::put;
        case http::verb::patch:
            return Method::patch;
        case http::verb::delete_:
            return Method::del;
        case http::verb::options:
            return Method::options;
        case http::verb::get:
            return Method::get;
        default:
            return Method::other;
    }
}

/// RFC 9112 §3.2.2: the authority of an absolute target replaces Host; what remains is an
/// origin-form.
std::string_view origin_form(std::string_view target) {
    if (target.starts_with('/') || target == "*") return target;
    const auto authority = target.find("//") + 2;
    const auto path = target.find_first_of("/?", authority);
    return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
}

bool is_clean(std::string_view text) {
    return std::ranges::none_of(text, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

}  // namespace

void append_head(std::string& out, const Response& response, const AnswerFraming& framing) {
    auto to = std::back_inserter(out);
    fmt::format_to(to, "HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status,
                   reason_phrase(response.status), framing.date);
    const bool bodyless = response.status == 204 || response.status == 304;
    if (!response.feed && !bodyless)
        fmt::format_to(to, "Content-Length: {}\r\n", response.body.size());
    if (!bodyless && (!response.body.empty() || response.feed))
        fmt::format_to(to, "Content-Type: {}\r\n", response.content_type);
    for (const auto& [name, value] : response.headers) {
        check(is_token(name) && is_clean(value), "a response header holds no line break");
        out.append(name).append(": ").append(value).append("\r\n");
    }
    out += response.fixed_headers;
    if (!framing.keep_alive) out += "Connection: close\r\n";
    if (framing.keep_alive && framing.http_1_0) out += "Connection: keep-alive\r\n";
    out += "\r\n";
}

bool HeadParser::parse(std::string_view head, const Framing& framing, Request& request) {
    auto& parser = impl_->parser.emplace();
    parser.header_limit(static_cast<std::uint32_t>(head.size() + 1));
    parser.skip(true);  // bodies are ours
    boost::beast::error_code ec;
    parser.put(boost::asio::buffer(head.data(), head.size()), ec);
    if (ec || !parser.is_header_done()) return false;
    const auto& message = parser.get();
    if (view(message.method_string()) != framing.method || view(message.target()) != framing.target)
        return false;
    request.method = method_of(message.method());
    request.target = origin_form(view(message.target()));
    const auto question = request.target.find('?');
    request.path = request.target.substr(0, question);
    request.query = question == std::string_view::npos ? std::string_view{}
                                                       : request.target.substr(question + 1);
    request.headers.clear();
    for (const auto& field : message)
        request.headers.emplace_back(view(field.name_string()), view(field.value()));
    return true;
}

std::string_view reason_phrase(int status) {
    return view(http::obsolete_reason(static_cast<http::status>(status)));
}

}  // namespace millrace::edge::server
