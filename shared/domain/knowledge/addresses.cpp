#include "shared/domain/knowledge/addresses.hpp"

#include <algorithm>
#include <array>

#include "shared/domain/knowledge/normalize.hpp"

namespace millrace::domain::knowledge {
namespace {

using namespace std::string_view_literals;

constexpr auto k_none = std::string_view::npos;

/// Schemes that browsers follow without slashes.
constexpr std::array k_schemes = {"http:"sv, "https:"sv,  "ftp:"sv,        "mailto:"sv,
                                  "sms:"sv,  "intent:"sv, "view-source:"sv};
constexpr std::array k_running = {"javascript:"sv, "vbscript:"sv, "livescript:"sv, "blob:"sv};
/// Host names do not end like this, but names of files do ("README.md/2", "Node.js/Express").
constexpr std::array k_file_endings = {"c"sv,   "cpp"sv,  "css"sv, "csv"sv,  "docx"sv, "h"sv,
                                       "htm"sv, "html"sv, "js"sv,  "json"sv, "md"sv,   "pdf"sv,
                                       "py"sv,  "ts"sv,   "txt"sv, "xlsx"sv, "xml"sv,  "yaml"sv};
/// Elements that need no attribute to do something to the page around them.
constexpr std::array k_elements = {
    "a"sv,        "base"sv,   "body"sv,   "button"sv,    "embed"sv,    "form"sv,   "frame"sv,
    "frameset"sv, "head"sv,   "html"sv,   "iframe"sv,    "image"sv,    "img"sv,    "input"sv,
    "link"sv,     "math"sv,   "meta"sv,   "noembed"sv,   "noframes"sv, "object"sv, "noscript"sv,
    "picture"sv,  "script"sv, "select"sv, "source"sv,    "style"sv,    "svg"sv,    "template"sv,
    "textarea"sv, "title"sv,  "video"sv,  "plaintext"sv, "xmp"sv,      "audio"sv,  "applet"sv};

bool letter(char c) {
    return (c >= 'a' && c <= 'z') || static_cast<unsigned char>(c) >= 0x80;
}
bool digit(char c) {
    return c >= '0' && c <= '9';
}
bool in_host(char c) {
    return letter(c) || digit(c) || c == '-' || c == '.';
}
bool in_scheme(char c) {
    return (c >= 'a' && c <= 'z') || digit(c) || c == '+' || c == '-' || c == '.';
}

/// A host name that ends in a top-level domain, not in a number or a file's ending.
bool is_host(std::string_view name) {
    const auto dot = name.rfind('.');
    if (dot == k_none || dot == 0) return false;
    const auto last = name.substr(dot + 1);
    return last.size() >= 2 &&
           std::ranges::none_of(last.starts_with("xn--") ? ""sv : last, digit) &&
           std::ranges::find(k_file_endings, last) == k_file_endings.end();
}

/// Where the characters that satisfy `within` begin, that end at `end`.
template <class Within>
std::size_t begin_of(std::string_view word, std::size_t end, Within within) {
    while (end > 0 && within(word[end - 1])) --end;
    return end;
}

std::size_t with_slashes(std::string_view word) {
    for (std::size_t at = 0; (at = word.find("//", at)) != k_none; ++at) {
        const auto rest = word.substr(at + 2);
        if (at > 0 && word[at - 1] == ':') return begin_of(word, at - 1, in_scheme);
        if (!rest.starts_with('/') && rest.find_first_of(".:[") != k_none) return at;
    }
    return k_none;
}

template <class Schemes>
std::size_t with_scheme(std::string_view word, const Schemes& schemes) {
    std::size_t best = k_none;
    for (const auto scheme : schemes) {
        for (std::size_t at = 0; (at = word.find(scheme, at)) != k_none; ++at) {
            if (at + scheme.size() == word.size() || (at > 0 && in_scheme(word[at - 1]))) continue;
            best = std::min(best, at);
            break;
        }
    }
    return best;
}

/// `javascript:` counts wherever it stands; `data:` where content follows.
std::size_t that_runs(std::string_view word) {
    std::size_t best = k_none;
    for (const auto scheme : k_running) best = std::min(best, word.find(scheme));
    const auto data = word.find("data:");
    if (data != k_none && word.find_first_of(",;/", data) != k_none) best = std::min(best, data);
    return best;
}

std::size_t with_www(std::string_view word) {
    for (std::size_t at = 0; (at = word.find("www.", at)) != k_none; ++at) {
        if ((at == 0 || !in_host(word[at - 1])) && at + 4 < word.size() && in_host(word[at + 4]))
            return at;
    }
    return k_none;
}

/// The name before an @ that a host name follows.
std::size_t email(std::string_view word) {
    for (std::size_t at = 0; (at = word.find('@', at)) != k_none; ++at) {
        auto host = word.substr(at + 1);
        host = host.substr(
            0, static_cast<std::size_t>(std::ranges::find_if_not(host, in_host) - host.begin()));
        while (host.ends_with('.')) host.remove_suffix(1);
        const auto begin =
            begin_of(word, at, [](char c) { return in_host(c) || "_+%"sv.contains(c); });
        if (begin < at && is_host(host)) return begin;
    }
    return k_none;
}

std::size_t host_with_path(std::string_view word) {
    for (std::size_t at = 0; (at = word.find_first_of("/?#:", at)) != k_none; ++at) {
        const auto begin = begin_of(word, at, in_host);
        const auto rest = word.substr(at + 1);
        if (!rest.empty() && !std::ranges::all_of(rest, is_trailing) &&
            (word[at] != ':' || digit(rest[0])) && is_host(word.substr(begin, at - begin)))
            return begin;
    }
    return k_none;
}

}  // namespace

std::optional<Address> find_address(std::string_view word) {
    const auto folded = fold_with_origin(word);
    const std::string_view text = folded.text;
    if (text.find_first_of(":/@?#") == k_none && !text.contains("www.")) return std::nullopt;
    const auto runs = that_runs(text);
    const auto mail = email(text);
    const auto first = std::min({runs, mail, with_slashes(text), with_scheme(text, k_schemes),
                                 with_www(text), host_with_path(text)});
    if (first == k_none) return std::nullopt;
    return Address{
        .begin = folded.begin[first], .may_pass = runs == k_none, .is_email = first == mail};
}

bool is_markup(std::string_view content) {
    if (content.starts_with('!') || content.starts_with('?') || content.contains('=')) return true;
    if (content.starts_with('/')) content.remove_prefix(1);
    const auto folded = fold(content);
    const auto end =
        std::ranges::find_if_not(folded, [](char c) { return (c >= 'a' && c <= 'z') || digit(c); });
    return std::ranges::find(k_elements, std::string_view(folded.begin(), end)) != k_elements.end();
}

bool ends_word(char32_t c) noexcept {
    if (is_space(c)) return true;
    if (c < 0x80) return "<>\"')]`["sv.contains(static_cast<char>(c));
    if (c >= 0x2018 && c <= 0x201F) return true;
    return c >= 0x3000 && (c < 0xFF01 || c > 0xFF5E);
}

}  // namespace millrace::domain::knowledge
