#include "edge/middleware/multipart.hpp"

#include <algorithm>

#include "shared/base/utf8.hpp"

namespace millrace::edge::middleware {

namespace {

bool starts_with_nocase(std::string_view text, std::string_view prefix) {
    const auto lower = [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
    return text.size() >= prefix.size() &&
           std::ranges::equal(text.substr(0, prefix.size()), prefix, {}, lower, lower);
}

/// A parameter of a header value: name="quoted \"text\"" or name=token.
std::optional<std::string> parameter(std::string_view value, std::string_view name) {
    for (auto at = value.find(';'); at != std::string_view::npos; at = value.find(';', at)) {
        at = value.find_first_not_of(" \t", at + 1);
        if (at == std::string_view::npos) return std::nullopt;
        const auto equal = value.find('=', at);
        if (equal == std::string_view::npos) return std::nullopt;
        const auto key = value.substr(at, equal - at);
        std::string text;
        at = equal + 1;
        if (at < value.size() && value[at] == '"') {
            for (++at; at < value.size() && value[at] != '"'; ++at) {
                if (value[at] == '\\' && at + 1 < value.size()) ++at;
                text += value[at];
            }
            if (at >= value.size()) return std::nullopt;
        } else {
            const auto end = std::min(value.find_first_of("; \t", at), value.size());
            text = value.substr(at, end - at);
            at = end;
        }
        if (key.size() == name.size() && starts_with_nocase(key, name)) return text;
        if (at >= value.size()) break;
    }
    return std::nullopt;
}

std::unexpected<Error> malformed(std::string_view why) {
    return fail(ErrorCode::invalid,
                "body: not a valid multipart/form-data body: " + std::string(why),
                {.field = "body"});
}

}  // namespace

std::optional<std::string> multipart_boundary(std::string_view content_type) {
    if (!starts_with_nocase(content_type, "multipart/form-data")) return std::nullopt;
    auto boundary = parameter(content_type, "boundary");
    if (!boundary || boundary->empty() || boundary->size() > 70) return std::nullopt;
    return boundary;
}

// The first delimiter has no line break before it; pretending one lets a single search serve all.
MultipartParser::MultipartParser(std::string boundary)
    : delimiter_("\r\n--" + std::move(boundary)), buffer_("\r\n") {}

Result<MultipartParser::Event> MultipartParser::next() {
    buffer_.erase(0, std::exchange(consumed_, 0));
    data_ = {};
    for (;;) {
        switch (state_) {
            case State::preamble: {
                const auto at = buffer_.find(delimiter_);
                if (std::min(at, buffer_.size()) > k_part_head_bytes_max)
                    return malformed("it does not begin with its boundary");
                if (at == std::string::npos) return Event::more;
                buffer_.erase(0, at + delimiter_.size());
                state_ = State::after_boundary;
                break;
            }
            case State::after_boundary:
                if (buffer_.size() < 2) return Event::more;
                if (buffer_.starts_with("--")) {
                    state_ = State::done;
                    break;
                }
                if (!buffer_.starts_with("\r\n"))
                    return malformed("a boundary is not followed by a line break");
                buffer_.erase(0, 2);
                if (++parts_ > k_parts_max) return malformed("too many parts");
                state_ = State::head;
                break;
            case State::head:
                return part_head();
            case State::body:
                return body();
            case State::done:
                buffer_.clear();
                return Event::end;
        }
    }
}

Result<MultipartParser::Event> MultipartParser::part_head() {
    const auto end = buffer_.find("\r\n\r\n");
    if (std::min(end, buffer_.size()) > k_part_head_bytes_max)
        return malformed("the head of a part is too long");
    if (end == std::string::npos) return Event::more;
    // An empty part may do without its own line break: the one that ended the head is then the
    // delimiter's. Whether it is, only the bytes after it tell.
    const auto after = std::string_view(buffer_).substr(end + 2);
    if (after.size() < delimiter_.size() && delimiter_.starts_with(after)) return Event::more;
    head_ = {};
    std::string_view lines(buffer_.data(), end);
    bool named = false;
    while (!lines.empty()) {
        const auto eol = std::min(lines.find("\r\n"), lines.size());
        const auto line = lines.substr(0, eol);
        lines.remove_prefix(std::min(eol + 2, lines.size()));
        if (!starts_with_nocase(line, "content-disposition:")) continue;
        auto name = parameter(line, "name");
        if (!name) return malformed("a part has no name");
        head_ = {std::move(*name), parameter(line, "filename")};
        named = true;
    }
    if (!named) return malformed("a part has no Content-Disposition");
    if (!base::is_valid_utf8(head_.name) ||
        (head_.file_name && !base::is_valid_utf8(*head_.file_name))) {
        return malformed("a name is not UTF-8");
    }
    consumed_ = after.starts_with(delimiter_) ? end + 2 : end + 4;
    state_ = State::body;
    return Event::part;
}

MultipartParser::Event MultipartParser::body() {
    const auto at = buffer_.find(delimiter_);
    if (at == 0) {
        consumed_ = delimiter_.size();
        state_ = State::after_boundary;
        return Event::part_end;
    }
    // What could be the beginning of a delimiter waits for more.
    const auto safe = at != std::string::npos
                          ? at
                          : buffer_.size() - std::min(buffer_.size(), delimiter_.size() - 1);
    if (safe == 0) return Event::more;
    data_ = std::string_view(buffer_).substr(0, safe);
    consumed_ = safe;
    return Event::data;
}

}  // namespace millrace::edge::middleware
