#include "shared/json/writer.hpp"

#include "shared/base/utf8.hpp"

namespace millrace::json {

namespace {

/// The longest valid character at the front; 0 when there is none.
std::size_t character_size(std::string_view text) {
    for (std::size_t size = 1; size <= 4 && size <= text.size(); ++size) {
        if (base::is_valid_utf8(text.substr(0, size))) return size;
    }
    return 0;
}

void append_escaped(std::string& out, char c) {
    static constexpr char digits[] = "0123456789abcdef";
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
        default:
            out += "\\u00";
            out += digits[static_cast<unsigned char>(c) >> 4];
            out += digits[static_cast<unsigned char>(c) & 15];
    }
}

}  // namespace

std::string dump(const Value& value) {
    return boost::json::serialize(value);
}

void append_quoted(std::string& out, std::string_view text) {
    const bool valid = base::is_valid_utf8(text);
    out += '"';
    std::size_t plain = 0;  // start of what needs no escape
    const auto flush = [&](std::size_t to) { out.append(text, plain, to - plain); };
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7F) {
            flush(i);
            append_escaped(out, text[i]);
            plain = ++i;
        } else if (byte < 0x80 || valid) {
            ++i;
        } else if (const auto size = character_size(text.substr(i)); size > 0) {
            i += size;
        } else {
            flush(i);
            out += "\xEF\xBF\xBD";
            plain = ++i;
        }
    }
    flush(text.size());
    out += '"';
}

}  // namespace millrace::json
