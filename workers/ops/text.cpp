#include "workers/ops/text.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "shared/base/utf8.hpp"
#include "shared/base/uuid.hpp"
#include "shared/events/catalog.hpp"

namespace millrace::workers::ops {

namespace {

void mask(json::Value& value) {
    if (auto* text = value.if_string()) {
        if (!base::Uuid::parse({text->data(), text->size()}))
            value = fmt::format("<{} bytes>", text->size());
    } else if (auto* array = value.if_array()) {
        for (auto& each : *array) mask(each);
    } else if (auto* object = value.if_object()) {
        for (auto& each : *object) mask(each.value());
    }
}

}  // namespace

Result<base::WallTime> parse_when(std::string_view text) {
    if (const auto at = base::parse_rfc3339(text)) return *at;
    if (const auto ago = events::parse_span(text)) return std::chrono::system_clock::now() - *ago;
    return fail(ErrorCode::invalid,
                fmt::format("'{}' is neither a time such as 2025-01-01T09:00:00Z nor an age such "
                            "as 15m, 2h or 7d",
                            text));
}

std::string age_text(double seconds) {
    if (seconds < 120) return fmt::format("{:.0f} s", seconds);
    if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
    if (seconds < 172800) return fmt::format("{:.0f} h", seconds / 3600);
    return fmt::format("{:.0f} d", seconds / 86400);
}

json::Value masked(std::string_view text) {
    if (text.empty()) return nullptr;
    boost::system::error_code ec;
    auto value = boost::json::parse({text.data(), text.size()}, ec);
    if (ec) return json::Value(fmt::format("<{} bytes>", text.size()));
    mask(value);
    return value;
}

json::Value unmasked(std::string_view text) {
    if (text.empty()) return nullptr;
    boost::system::error_code ec;
    auto value = boost::json::parse({text.data(), text.size()}, ec);
    return ec ? json::Value(text) : value;
}

bool confirmed(std::string_view question) {
    if (::isatty(STDIN_FILENO) != 1) return true;
    fmt::print(stderr, "{} [y/N] ", question);
    std::fflush(stderr);
    const int first = std::getchar();
    for (int c = first; c != '\n' && c != EOF;) c = std::getchar();
    return first == 'y' || first == 'Y';
}

Progress::Progress(std::size_t total) : total_(total), tty_(::isatty(STDERR_FILENO) == 1) {}

void Progress::show(std::size_t done, bool last) const {
    if (!tty_) return;
    constexpr std::size_t k_width = 40;
    const auto filled = total_ == 0 ? k_width : std::min(k_width, done * k_width / total_);
    fmt::print(stderr, "\r\033[K[{}{}] {}/{}{}", std::string(filled, '#'),
               std::string(k_width - filled, '.'), done, total_, last ? "\n" : "");
    std::fflush(stderr);
}

}  // namespace millrace::workers::ops
