#include "edge/server/router.hpp"

#include <algorithm>
#include <ranges>

#include "shared/base/utf8.hpp"

namespace millrace::edge::server {

struct Router::Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
    std::unique_ptr<Node> parameter;
    std::array<std::optional<std::size_t>, k_methods> rows;  ///< by method
};

namespace {

/// What stands between the slashes, empty ones included; none of the root.
auto segments(std::string_view path) {
    path.remove_prefix(std::min<std::size_t>(1, path.size()));
    return path | std::views::split('/') |
           std::views::transform([](auto part) { return std::string_view(part); });
}

std::string allow_of(const std::array<std::optional<std::size_t>, k_methods>& rows) {
    std::vector<std::string_view> methods{"OPTIONS"};
    for (std::size_t m = 0; m < rows.size(); ++m) {
        if (rows[m]) methods.push_back(to_string(static_cast<Method>(m)));
        if (rows[m] && static_cast<Method>(m) == Method::get) methods.emplace_back("HEAD");
    }
    std::ranges::sort(methods);
    methods.erase(std::ranges::unique(methods).begin(), methods.end());
    std::string out;
    for (const auto method : methods) out += (out.empty() ? "" : ", ") + std::string(method);
    return out;
}

}  // namespace

std::string_view to_string(Method method) noexcept {
    static constexpr std::array<std::string_view, k_methods> names = {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"};
    return names[static_cast<std::size_t>(method)];
}

Router::Router() : root_(std::make_unique<Node>()) {}
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

void Router::add(Method method, std::string_view pattern, std::size_t index) {
    Node* node = root_.get();
    for (const auto segment : segments(pattern)) {
        auto& next =
            segment.starts_with('{') ? node->parameter : node->literals[std::string(segment)];
        if (!next) next = std::make_unique<Node>();
        node = next.get();
    }
    auto& row = node->rows[static_cast<std::size_t>(method)];
    check(!row, "a route is listed once");
    row = index;
}

Match Router::find(Method method, std::string_view path) const {
    Match out;
    const Node* node = root_.get();
    for (const auto segment : segments(path)) {
        const auto literal = node->literals.find(segment);
        if (literal != node->literals.end()) {
            node = literal->second.get();
        } else if (node->parameter && !segment.empty()) {
            out.params.push_back(segment);
            node = node->parameter.get();
        } else {
            return {};
        }
    }
    if (std::ranges::none_of(node->rows, [](const auto& row) { return row.has_value(); }))
        return {};
    auto row = node->rows[static_cast<std::size_t>(method)];
    if (!row && method == Method::head) row = node->rows[static_cast<std::size_t>(Method::get)];
    if (!row) {
        out.kind = Match::Kind::method_not_allowed;
        out.allow = allow_of(node->rows);
        return out;
    }
    out.kind = Match::Kind::found;
    out.index = *row;
    return out;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'                 ? c - '0'
               : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                    : -1;
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus_is_space) {
            out += ' ';
        } else if (text[i] == '%') {
            if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0)
                return std::nullopt;
            out += static_cast<char>(digit(text[i + 1]) << 4 | digit(text[i + 2]));
            i += 2;
        } else {
            out += text[i];
        }
    }
    if (!base::is_valid_utf8(out) || out.find('\0') != std::string::npos) return std::nullopt;
    return out;
}

std::string_view Request::header(std::string_view name) const noexcept {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    for (const auto& [key, value] : headers) {
        if (key.size() == name.size() && std::ranges::equal(key, name, {}, lower, lower))
            return value;
    }
    return {};
}

std::optional<std::string> form_value(std::string_view rest, std::string_view name) {
    while (!rest.empty()) {
        const auto amp = std::min(rest.find('&'), rest.size());
        const auto pair = rest.substr(0, amp);
        rest.remove_prefix(std::min(amp + 1, rest.size()));
        const auto equal = std::min(pair.find('='), pair.size());
        const auto key = percent_decode(pair.substr(0, equal), true);
        if (!key || *key != name) continue;
        return percent_decode(pair.substr(std::min(equal + 1, pair.size())), true);
    }
    return std::nullopt;
}

std::optional<std::string> Request::query_param(std::string_view name) const {
    return form_value(query, name);
}

}  // namespace millrace::edge::server
