#include "shared/telemetry/log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <string>

#include "shared/base/time.hpp"
#include "shared/json/writer.hpp"

namespace millrace::telemetry::log {

namespace {

struct Settings {
    std::string process = "millrace";
    Level least = Level::info;
};
Settings& settings() {
    static Settings value;
    return value;
}

constexpr std::array<std::string_view, 4> k_levels = {"debug", "info", "warning", "error"};

bool is_secret(std::string_view name) {
    static constexpr std::array<std::string_view, 6> words = {"password",      "secret",  "token",
                                                              "authorization", "api_key", "cookie"};
    return std::ranges::any_of(
        words, [name](std::string_view word) { return name.find(word) != std::string_view::npos; });
}

/// Credentials that stand inside a text: "Bearer …" and "token=…".
std::string masked(std::string_view text) {
    std::string out(text);
    for (const std::string_view mark : {"Bearer ", "bearer ", "token="}) {
        for (auto at = out.find(mark); at != std::string::npos;
             at = out.find(mark, at + mark.size())) {
            const auto from = at + mark.size();
            const auto end = std::min(out.find_first_of(" \"'&\r\n", from), out.size());
            out.replace(from, end - from, "***");
        }
    }
    return out;
}

void append(std::string& out, std::string_view name, const Value& value) {
    json::append_quoted(out, name);
    out += ':';
    if (const auto* text = std::get_if<std::string_view>(&value)) {
        if (is_secret(name)) {
            out += "\"***\"";
        } else if (text->find("earer ") != std::string_view::npos ||
                   text->find("token=") != std::string_view::npos) {
            json::append_quoted(out, masked(*text));
        } else {
            json::append_quoted(out, *text);
        }
    } else if (const auto* whole = std::get_if<std::int64_t>(&value)) {
        fmt::format_to(std::back_inserter(out), "{}", *whole);
    } else if (const auto* number = std::get_if<double>(&value)) {
        out += std::isfinite(*number) ? fmt::format("{:.6g}", *number) : "null";
    } else {
        out += std::get<bool>(value) ? "true" : "false";
    }
}

/// Lines that wait, and who promised to come for them.
struct Pending {
    std::mutex mutex;
    std::string lines;
    std::function<void()> soon;
};
Pending& pending() {
    static Pending value;
    return value;
}

constexpr std::size_t k_waiting_bytes_max = 32 * 1024;
constexpr std::size_t k_line_bytes = 320;  // of nearly every line

/// One call for whole lines: lines of several threads never mix. A full disk must not stop the
/// work.
void put(std::string& lines) {
    if (!lines.empty()) (void)!::write(STDERR_FILENO, lines.data(), lines.size());
    lines.clear();
}

void write(Level level, std::string_view message, Fields fields) {
    if (level < settings().least) return;
    auto line = format(level, message, fields);
    line += '\n';
    auto& waiting = pending();
    const std::lock_guard lock(waiting.mutex);
    const bool first = waiting.lines.empty();
    waiting.lines += line;
    const bool may_wait =
        waiting.soon && level < Level::warning && waiting.lines.size() < k_waiting_bytes_max;
    if (!may_wait) return put(waiting.lines);
    if (first) waiting.soon();
}

}  // namespace

void configure(std::string_view process, Level least) {
    settings() = {std::string(process), least};
}

void defer(std::function<void()> soon) {
    auto& waiting = pending();
    const std::lock_guard lock(waiting.mutex);
    waiting.soon = std::move(soon);
    if (!waiting.soon) put(waiting.lines);
}

void flush() {
    auto& waiting = pending();
    const std::lock_guard lock(waiting.mutex);
    put(waiting.lines);
}

std::string format(Level level, std::string_view message, Fields fields) {
    std::string out;
    out.reserve(k_line_bytes);
    out.append(R"({"time":")").append(base::rfc3339_millis(std::chrono::system_clock::now()));
    out.append(R"(","level":")").append(k_levels[static_cast<std::size_t>(level)]);
    out += R"(","process":)";
    json::append_quoted(out, settings().process);
    out += R"(,"message":)";
    json::append_quoted(out, message);
    for (const auto& [name, value] : fields) {
        out += ',';
        append(out, name, value);
    }
    out += '}';
    return out;
}

void debug(std::string_view message, Fields fields) {
    write(Level::debug, message, fields);
}
void info(std::string_view message, Fields fields) {
    write(Level::info, message, fields);
}
void warning(std::string_view message, Fields fields) {
    write(Level::warning, message, fields);
}
void error(std::string_view message, Fields fields) {
    write(Level::error, message, fields);
}

}  // namespace millrace::telemetry::log
