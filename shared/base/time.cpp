#include "shared/base/time.hpp"

#include <fmt/format.h>

#include <charconv>

namespace millrace::base {

namespace {
using std::chrono::days;
using std::chrono::floor;
using std::chrono::seconds;

struct Civil {
    std::chrono::year_month_day date;
    std::chrono::hh_mm_ss<std::chrono::milliseconds> time;
    std::chrono::weekday weekday;
};

Civil civil(WallTime when) {
    const auto day = floor<days>(when);
    return {std::chrono::year_month_day(day),
            std::chrono::hh_mm_ss(floor<std::chrono::milliseconds>(when - day)),
            std::chrono::weekday(day)};
}

bool number(std::string_view text, std::size_t at, std::size_t size, int& out) {
    if (at + size > text.size()) return false;
    const char* first = text.data() + at;
    const auto [end, ec] = std::from_chars(first, first + size, out);
    return ec == std::errc{} && end == first + size && *first >= '0' && *first <= '9';
}
}  // namespace

std::string rfc3339(WallTime when) {
    const auto c = civil(when);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(c.date.year()),
                       static_cast<unsigned>(c.date.month()), static_cast<unsigned>(c.date.day()),
                       c.time.hours().count(), c.time.minutes().count(), c.time.seconds().count());
}

std::string rfc3339_millis(WallTime when) {
    const auto c = civil(when);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                       static_cast<int>(c.date.year()), static_cast<unsigned>(c.date.month()),
                       static_cast<unsigned>(c.date.day()), c.time.hours().count(),
                       c.time.minutes().count(), c.time.seconds().count(),
                       c.time.subseconds().count());
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    if (!number(text, 0, 4, year) || !number(text, 5, 2, month) || !number(text, 8, 2, day) ||
        !number(text, 11, 2, hour) || !number(text, 14, 2, minute) ||
        !number(text, 17, 2, second) || text.size() < 20) {
        return std::nullopt;
    }
    if (text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') ||
        text[13] != ':' || text[16] != ':') {
        return std::nullopt;
    }
    const std::chrono::year_month_day date{std::chrono::year(year),
                                           std::chrono::month(static_cast<unsigned>(month)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
    std::size_t at = 19;
    std::chrono::nanoseconds fraction{0};
    if (text[at] == '.') {
        std::int64_t scale = 100'000'000;
        const auto first = ++at;
        for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) {
            fraction += std::chrono::nanoseconds((text[at] - '0') * scale);
        }
        if (at == first) return std::nullopt;
    }
    std::chrono::minutes offset{0};
    if (at >= text.size()) return std::nullopt;
    if (text[at] == 'Z' || text[at] == 'z') {
        if (at + 1 != text.size()) return std::nullopt;
    } else {
        int oh = 0, om = 0;
        if ((text[at] != '+' && text[at] != '-') || at + 6 != text.size() || text[at + 3] != ':' ||
            !number(text, at + 1, 2, oh) || !number(text, at + 4, 2, om) || oh > 23 || om > 59) {
            return std::nullopt;
        }
        offset = std::chrono::minutes(oh * 60 + om) * (text[at] == '-' ? -1 : 1);
    }
    const auto local = std::chrono::sys_days(date) + std::chrono::hours(hour) +
                       std::chrono::minutes(minute) + seconds(second);
    return std::chrono::time_point_cast<WallTime::duration>(local - offset + fraction);
}

std::string http_date(WallTime when) {
    static constexpr const char* names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const auto c = civil(when);
    return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", names[c.weekday.c_encoding()],
                       static_cast<unsigned>(c.date.day()),
                       months[static_cast<unsigned>(c.date.month()) - 1],
                       static_cast<int>(c.date.year()), c.time.hours().count(),
                       c.time.minutes().count(), c.time.seconds().count());
}

}  // namespace millrace::base
