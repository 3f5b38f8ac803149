#include "workers/embedding/extract/plain_text.hpp"

#include <iconv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "shared/base/utf8.hpp"
#include "workers/embedding/extract/page_text.hpp"

namespace millrace::workers::embedding::extract {

namespace {

using namespace std::string_view_literals;

constexpr std::size_t k_file_bytes_max =
    2 * k_text_bytes_max + 2;  // UTF-16 of Latin text shrinks by half
constexpr std::size_t k_piece_bytes = 64 * 1024;

/// The whole text in UTF-8, or nothing if one byte of it is not in that encoding.
std::optional<std::string> decode(std::string_view bytes, const char* encoding) {
    const iconv_t converter = ::iconv_open("UTF-8", encoding);
    if (converter == reinterpret_cast<iconv_t>(-1)) return std::nullopt;
    std::string out;
    std::array<char, k_piece_bytes> piece;
    char* in = const_cast<char*>(bytes.data());
    std::size_t left = bytes.size();
    bool fine = true;
    while (left > 0 && fine) {
        char* to = piece.data();
        std::size_t room = piece.size();
        const auto rc = ::iconv(converter, &in, &left, &to, &room);
        out.append(piece.data(), piece.size() - room);
        fine = rc != static_cast<std::size_t>(-1) || errno == E2BIG;
    }
    ::iconv_close(converter);
    return fine ? std::optional(std::move(out)) : std::nullopt;
}

/// Text has no control characters but these: line breaks, tab, form feed, the DOS end mark, escape
/// (ISO-2022).
bool looks_binary(std::string_view bytes) {
    return std::ranges::any_of(bytes, [](char c) {
        return static_cast<unsigned char>(c) < 0x20 && !"\t\n\v\f\r\x1A\x1B"sv.contains(c);
    });
}

/// How much UTF-8 text reads like Japanese: kana count, and half-width katakana, which the wrong
/// table yields, count against.
long japanese_score(std::string_view utf8) {
    long score = 0;
    for (std::size_t i = 0; i + 2 < utf8.size(); ++i) {
        const auto a = static_cast<unsigned char>(utf8[i]),
                   b = static_cast<unsigned char>(utf8[i + 1]),
                   c = static_cast<unsigned char>(utf8[i + 2]);
        if (a == 0xE3 && b >= 0x80 && b <= 0x83) ++score;                      // U+3000–30FF
        if (a == 0xEF && (b == 0xBE || (b == 0xBD && c >= 0xA1))) score -= 2;  // U+FF61–FF9F
    }
    return score;
}

std::optional<std::string> decode_japanese(std::string_view bytes) {
    auto shift_jis = decode(bytes, "CP932");
    auto euc = decode(bytes, "EUC-JP");
    if (!euc) return shift_jis;
    if (!shift_jis) return euc;
    return japanese_score(*euc) > japanese_score(*shift_jis) ? euc : shift_jis;
}

std::optional<std::string> to_utf8(std::string_view file) {
    if (file.starts_with("\xEF\xBB\xBF")) file.remove_prefix(3);
    if (file.starts_with("\xFF\xFE")) return decode(file.substr(2), "UTF-16LE");
    if (file.starts_with("\xFE\xFF")) return decode(file.substr(2), "UTF-16BE");
    if (looks_binary(file)) return std::nullopt;
    if (file.contains("\x1B$") || file.contains("\x1B(J")) return decode(file, "ISO-2022-JP");
    if (base::is_valid_utf8(file)) return std::string(file);
    return decode_japanese(file);
}

}  // namespace

Parsed<std::string> read_plain_text(std::string_view file) {
    if (file.empty()) return refuse(Refusal::empty_file, "no bytes");
    if (file.size() > k_file_bytes_max) return refuse(Refusal::too_much_text, "more than 20 MiB");
    const auto text = to_utf8(file);
    if (!text || !base::is_valid_utf8(*text))
        return refuse(Refusal::text_encoding, "in none of the encodings");
    std::string out;
    append_clean(out, *text);
    if (out.size() > k_text_bytes_max)
        return refuse(Refusal::too_much_text, "more than 10 MiB of text");
    if (!has_text(out)) return refuse(Refusal::no_text, "white space only");
    return out;
}

}  // namespace millrace::workers::embedding::extract
