#pragma once
// What commands read from and write to people.

#include <cstdio>
#include <string>
#include <string_view>

#include "shared/base/result.hpp"
#include "shared/base/time.hpp"
#include "shared/json/writer.hpp"

namespace millrace::workers::ops {

/// An RFC 3339 time ("2025-01-01T09:00:00Z"), or how long ago ("90s", "15m", "2h", "7d").
[[nodiscard]] Result<base::WallTime> parse_when(std::string_view text);

/// "3 s", "4 min", "5 h", "6 d".
[[nodiscard]] std::string age_text(double seconds);

/// JSON without what people wrote: every string is replaced by its length, but for UUIDs. Text that
/// is no JSON becomes its size.
[[nodiscard]] json::Value masked(std::string_view text);
/// JSON as a value, or the text as a string.
[[nodiscard]] json::Value unmasked(std::string_view text);

/// Asks the person at the terminal; true without asking when there is none.
[[nodiscard]] bool confirmed(std::string_view question);

/// A bar on standard error, when that is a terminal.
class Progress {
 public:
    explicit Progress(std::size_t total);
    void show(std::size_t done, bool last = false) const;
    /// Erases the bar, so that a line can be printed.
    [[nodiscard]] const char* erase() const { return tty_ ? "\r\033[K" : ""; }

 private:
    std::size_t total_;
    bool tty_;
};

}  // namespace millrace::workers::ops
