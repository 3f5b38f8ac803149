#pragma once
// Logs: one JSON object a line on stderr, a constant message and fields. Secrets are masked by the
// name of their field.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace millrace::telemetry::log {

enum class Level : std::uint8_t { debug, info, warning, error };

using Value = std::variant<std::string_view, std::int64_t, double, bool>;
using Fields = std::initializer_list<std::pair<std::string_view, Value>>;

/// Once, before any thread: the name every line carries, and the least level that is written.
void configure(std::string_view process, Level least);

/// From now on, lines below a warning may wait for one write(2) together: `soon` is called when the
/// first of them waits, and must bring about a flush(), such as at the end of this turn of the
/// event loop. Null: every line is written at once, as before the first call. What waits is lost
/// with a process that is killed; warnings and errors take it along.
void defer(std::function<void()> soon);
void flush();

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warning(std::string_view message, Fields fields = {});
/// A person should act.
void error(std::string_view message, Fields fields = {});

/// One line, without its line break; for tests.
[[nodiscard]] std::string format(Level level, std::string_view message, Fields fields);

}  // namespace millrace::telemetry::log
