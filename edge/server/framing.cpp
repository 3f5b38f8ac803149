#include "edge/server/framing.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "shared/base/utf8.hpp"

namespace millrace::edge::server {

namespace {

constexpr std::string_view k_token_extra = "!#$%&'*+-.^_`|~";

bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool equals(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, {}, lower, lower);
}

std::unexpected<Violation> refuse(std::string_view why, int status = 400) {
    return std::unexpected(Violation{status, why});
}

/// Field values: visible characters, spaces, tabs, and bytes above 0x7F; no control character, so
/// no lone CR, LF or NUL.
bool is_field_value(std::string_view text) {
    return std::ranges::all_of(
        text, [](unsigned char c) { return c == '\t' || (c >= 0x20 && c != 0x7F); });
}

bool is_target_char(unsigned char c) {
    return c > 0x20 && c < 0x7F && c != '"' && c != '<' && c != '>' && c != '\\' && c != '^' &&
           c != '`' && c != '{' && c != '|' && c != '}' && c != '#';
}

/// Every '%' begins a triplet.
bool is_percent_encoded(std::string_view text) {
    for (auto at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 3)) {
        if (at + 2 >= text.size() || !is_hex(text[at + 1]) || !is_hex(text[at + 2])) return false;
    }
    return true;
}

bool is_ipv6(std::string_view text) {
    in6_addr ignored{};
    return inet_pton(AF_INET6, std::string(text).c_str(), &ignored) == 1;
}

/// Names that a lenient hop would read as a framing field.
bool imitates_framing(std::string_view name) {
    if (!name.contains('_')) return false;
    std::string plain;
    for (const char c : name) plain += c == '_' ? '-' : lower(c);
    return plain == "content-length" || plain == "transfer-encoding" || plain == "host" ||
           plain == "connection";
}

/// Splits one line off; nullopt when it is not ended by CRLF.
std::optional<std::string_view> take_line(std::string_view& rest) {
    const auto end = rest.find("\r\n");
    if (end == std::string_view::npos) return std::nullopt;
    const auto line = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    return line;
}

struct Fields {
    std::optional<std::string_view> host, content_length, transfer_encoding, expect;
    std::string connection;
};

std::expected<void, Violation> check_target(std::string_view target, std::string_view method,
                                            std::size_t bytes_max) {
    if (target.size() > bytes_max) return refuse("the request target is too long", 414);
    if (!std::ranges::all_of(target, is_target_char))
        return refuse("the request target holds a character that it must not");
    if (!is_percent_encoded(target))
        return refuse("the request target holds a broken percent-encoding");
    if (target.starts_with('/')) return {};
    if (target == "*" && method == "OPTIONS") return {};
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (target.size() > scheme.size() && equals(target.substr(0, scheme.size()), scheme)) {
            const auto authority = target.substr(scheme.size());
            if (is_host(authority.substr(0, authority.find_first_of("/?")))) return {};
        }
    }
    return refuse("the request target is neither a path nor an absolute URL");
}

std::expected<Framing, Violation> check_request_line(std::string_view line,
                                                     const HeadLimits& limits) {
    Framing out;
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == std::string_view::npos || first == last || line.find(' ', first + 1) != last) {
        return refuse("the request line is not: method, target, version");
    }
    out.method = line.substr(0, first);
    out.target = line.substr(first + 1, last - first - 1);
    const auto version = line.substr(last + 1);
    if (!is_token(out.method)) return refuse("the method is not a token");
    if (version.size() != 8 || !version.starts_with("HTTP/") || version[6] != '.' ||
        version[5] < '0' || version[5] > '9' || version[7] < '0' || version[7] > '9') {
        return refuse("the version is not HTTP/x.y");
    }
    if (version[5] != '1') return refuse("only HTTP/1.1 and HTTP/1.0 are spoken here", 505);
    out.http_1_0 = version[7] == '0';
    out.later_minor = version[7] > '1';
    static constexpr std::array<std::string_view, 9> known = {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"};
    if (std::ranges::find(known, out.method) == known.end())
        return refuse("this method is not known here", 501);
    if (auto good = check_target(out.target, out.method, limits.target_bytes_max); !good)
        return std::unexpected(good.error());
    return out;
}

std::expected<Fields, Violation> check_fields(std::string_view rest, const HeadLimits& limits) {
    Fields out;
    std::size_t count = 0;
    while (true) {
        const auto line = take_line(rest);
        if (!line) return refuse("a header line is not ended by CRLF");
        if (line->empty()) return out;
        if (++count > limits.fields_max) return refuse("too many header fields", 431);
        if (line->front() == ' ' || line->front() == '\t') return refuse("a header line is folded");
        const auto colon = line->find(':');
        if (colon == std::string_view::npos) return refuse("a header line has no colon");
        const auto name = line->substr(0, colon);
        const auto value = base::trim(line->substr(colon + 1));
        if (!is_token(name)) return refuse("a header name is not a token");
        if (!is_field_value(line->substr(colon + 1)))
            return refuse("a header value holds a control character");
        if (imitates_framing(name)) return refuse("a header name imitates a framing field");
        const auto once = [&](std::optional<std::string_view>& into) {
            const bool first = !into;
            into = value;
            return first;
        };
        if (equals(name, "host") && !once(out.host)) return refuse("Host is given twice");
        if (equals(name, "content-length") && !once(out.content_length))
            return refuse("Content-Length is given twice");
        if (equals(name, "transfer-encoding") && !once(out.transfer_encoding))
            return refuse("Transfer-Encoding is given twice");
        if (equals(name, "expect") && !once(out.expect)) return refuse("Expect is given twice");
        if (equals(name, "connection")) out.connection += std::string(value) + ",";
    }
}

std::expected<void, Violation> check_body(const Fields& fields, Framing& out) {
    if (fields.transfer_encoding) {
        if (out.http_1_0) return refuse("Transfer-Encoding does not exist in HTTP/1.0");
        if (fields.content_length)
            return refuse("Transfer-Encoding and Content-Length exclude each other");
        if (!equals(*fields.transfer_encoding, "chunked"))
            return refuse("only the transfer coding chunked is known here", 501);
        if (out.method == "GET" || out.method == "HEAD" || out.method == "DELETE" ||
            out.method == "OPTIONS") {
            return refuse("this method carries no chunked body");
        }
        out.chunked = true;
    }
    if (fields.content_length) {
        const auto text = *fields.content_length;
        if (text.empty() || text.size() > 19 ||
            !std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; })) {
            return refuse("Content-Length is not a number");
        }
        std::uint64_t value = 0;
        for (const char c : text) value = value * 10 + static_cast<std::uint64_t>(c - '0');
        out.content_length = value;
    }
    return {};
}

/// Extensions are allowed by the grammar and used by nobody but attackers: only the plain
/// *( ";" token [ "=" token ] ) passes, without padding or quotes.
bool is_plain_extension(std::string_view text) {
    while (!text.empty()) {
        if (text.front() != ';') return false;
        text.remove_prefix(1);
        const auto one = text.substr(0, text.find(';'));
        text.remove_prefix(one.size());
        const auto equal = one.find('=');
        if (!is_token(one.substr(0, equal))) return false;
        if (equal != std::string_view::npos && !is_token(one.substr(equal + 1))) return false;
    }
    return true;
}

}  // namespace

bool is_token(std::string_view text) noexcept {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return is_alnum(c) || k_token_extra.find(c) != std::string_view::npos;
    });
}

bool is_host(std::string_view text) noexcept {
    if (text.empty() || text.size() > 255) return false;
    auto port = std::string_view{};
    if (text.front() == '[') {
        const auto close = text.find(']');
        if (close == std::string_view::npos || close < 3) return false;
        if (!is_ipv6(text.substr(1, close - 1))) return false;
        port = text.substr(close + 1);
        if (!port.empty() && port.front() != ':') return false;
    } else {
        const auto colon = text.find(':');
        const auto name = text.substr(0, colon);
        constexpr std::string_view extra = "-._~%!$&'()*+;=";
        if (name.empty() || !is_percent_encoded(name) || !std::ranges::all_of(name, [&](char c) {
                return is_alnum(c) || extra.find(c) != std::string_view::npos;
            })) {
            return false;
        }
        port = colon == std::string_view::npos ? std::string_view{} : text.substr(colon);
    }
    if (port.empty()) return true;
    port.remove_prefix(1);
    return port.size() <= 5 &&
           std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
}

bool is_hopeless(std::string_view begun, std::size_t seen) noexcept {
    if (begun.empty() || (begun == "\r")) return false;
    if (seen == 0 && !is_token(begun.substr(0, 1)) && !begun.starts_with("\r\n")) return true;
    for (auto at = begun.find('\n', seen); at != std::string_view::npos;
         at = begun.find('\n', at + 1)) {
        if (at == 0 || begun[at - 1] != '\r') return true;
    }
    return false;
}

std::expected<Framing, Violation> check_head(std::string_view head, const HeadLimits& limits) {
    // Lone CR, lone LF and NUL: the lines below are cut at CRLF, and what is left of them must be
    // clean.
    const auto request_line = take_line(head);
    if (!request_line) return refuse("the request line is not ended by CRLF");
    auto out = check_request_line(*request_line, limits);
    if (!out) return out;
    const auto fields = check_fields(head, limits);
    if (!fields) return std::unexpected(fields.error());

    if (!out->http_1_0 && !fields->host) return refuse("Host is missing");
    const bool absolute = !out->target.starts_with('/') && out->target != "*";
    if (fields->host && !is_host(*fields->host) && !(absolute && fields->host->empty()))
        return refuse("Host is not a valid host");
    if (auto good = check_body(*fields, *out); !good) return std::unexpected(good.error());
    if (fields->expect) {
        if (!equals(*fields->expect, "100-continue"))
            return refuse("only the expectation 100-continue is known here", 417);
        out->expects_continue = !out->http_1_0;
    }
    bool close = false, keep = false;
    std::string_view options = fields->connection;
    while (!options.empty()) {
        const auto comma = std::min(options.find(','), options.size());
        const auto option = base::trim(options.substr(0, comma));
        options.remove_prefix(std::min(comma + 1, options.size()));
        close |= equals(option, "close");
        keep |= equals(option, "keep-alive");
    }
    out->keep_alive = !close && (!out->http_1_0 || keep);
    return out;
}

ChunkedDecoder::Event ChunkedDecoder::next(std::string_view& input) {
    data_ = {};
    for (;;) {
        switch (state_) {
            case State::size_line: {
                const auto event = size_line(input);
                if (event != Event::data) return event;
                break;
            }
            case State::bytes: {
                if (input.empty()) return Event::more;
                const auto size = std::min<std::uint64_t>(chunk_left_, input.size());
                data_ = input.substr(0, size);
                input.remove_prefix(size);
                chunk_left_ -= size;
                if (chunk_left_ == 0) state_ = State::bytes_end;
                return Event::data;
            }
            case State::bytes_end:
            case State::last:
                if (input.size() < 2)
                    return input.empty() || input[0] == '\r' ? Event::more : Event::invalid;
                if (!input.starts_with("\r\n"))
                    return Event::invalid;  // in State::last: a trailer, refused
                input.remove_prefix(2);
                if (state_ == State::last) {
                    state_ = State::done;
                    return Event::end;
                }
                state_ = State::size_line;
                break;
            case State::done:
                return Event::end;
        }
    }
}

/// chunk-size [ ";" extension ] CRLF. Returns data when the line was taken.
ChunkedDecoder::Event ChunkedDecoder::size_line(std::string_view& input) {
    const auto end = input.find('\n');
    if (end == std::string_view::npos)
        return input.size() > k_line_bytes_max ? Event::invalid : Event::more;
    if (end == 0 || end > k_line_bytes_max || input[end - 1] != '\r') return Event::invalid;
    auto line = input.substr(0, end - 1);
    const auto digits =
        static_cast<std::size_t>(std::ranges::find_if_not(line, is_hex) - line.begin());
    if (digits == 0 || digits > 16) return Event::invalid;
    std::uint64_t size = 0;
    for (const char c : line.substr(0, digits)) {
        size = size << 4 | static_cast<std::uint64_t>(c <= '9' ? c - '0' : lower(c) - 'a' + 10);
    }
    if (!is_plain_extension(line.substr(digits)) || ++chunks_ > k_chunks_max) return Event::invalid;
    if (size > left_max_) return Event::too_large;
    left_max_ -= size;
    input.remove_prefix(end + 1);
    chunk_left_ = size;
    state_ = size == 0 ? State::last : State::bytes;
    return Event::data;
}

}  // namespace millrace::edge::server
