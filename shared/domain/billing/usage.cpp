#include "shared/domain/billing/usage.hpp"

#include <fmt/format.h>

#include <charconv>

namespace millrace::domain::billing {

namespace {

using std::chrono::days;
using std::chrono::sys_days;

constexpr auto k_default_span = days(29);

// An index range over the tenant's rows; a period that began before the range is named by its own
// first day.
const postgres::Statement k_by_date{"usage_by_date", R"sql(
WITH used AS (
    SELECT date_trunc($4, created_at AT TIME ZONE 'UTC') AS period, sum(tokens_in + tokens_out)::bigint AS tokens, sum(cost_usd)::float8 AS cost
      FROM usage WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND NOT shadow GROUP BY 1
)
SELECT to_char(p.period, 'YYYY-MM-DD'), coalesce(used.tokens, 0), coalesce(used.cost, 0)
  FROM generate_series(date_trunc($4, $2::timestamptz AT TIME ZONE 'UTC'), ($3::timestamptz AT TIME ZONE 'UTC') - interval '1 day',
                       CASE $4 WHEN 'day' THEN interval '1 day' WHEN 'week' THEN interval '7 days' ELSE interval '1 month' END) AS p (period)
  LEFT JOIN used ON used.period = p.period ORDER BY p.period)sql"};
const postgres::Statement k_by_model{"usage_by_model", R"sql(
SELECT model, sum(tokens_in + tokens_out)::bigint, sum(cost_usd)::float8 FROM usage
 WHERE tenant_id = $1 AND created_at >= $2 AND created_at < $3 AND NOT shadow GROUP BY model ORDER BY 3 DESC, 2 DESC, 1 LIMIT 100)sql"};

std::optional<int> digits(std::string_view text) {
    int value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc{} || end != text.data() + text.size() || text.starts_with('-'))
        return std::nullopt;
    return value;
}

std::optional<sys_days> parse_day(std::string_view text) {
    if (text.size() > 10) {
        const auto when = base::parse_rfc3339(text);
        if (!when) return std::nullopt;
        return std::chrono::floor<days>(*when);
    }
    if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
    const auto year = digits(text.substr(0, 4)), month = digits(text.substr(5, 2)),
               day = digits(text.substr(8, 2));
    if (!year || !month || !day || *year < 2000) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year(*year),
                                           std::chrono::month(static_cast<unsigned>(*month)),
                                           std::chrono::day(static_cast<unsigned>(*day))};
    if (!date.ok()) return std::nullopt;
    return sys_days(date);
}

std::unexpected<Error> refuse(std::string_view field, std::string_view why) {
    return fail(ErrorCode::invalid, fmt::format("{}: {}", field, why),
                {.field = std::string(field)});
}

Result<std::optional<sys_days>> day_param(std::string_view name,
                                          const std::optional<std::string>& text) {
    if (!text) return std::nullopt;
    const auto day = parse_day(*text);
    if (!day) return refuse(name, "must be a date of ISO 8601, such as 2025-01-31");
    return day;
}

std::vector<Usage::Row> rows_of(const postgres::Rows& rows) {
    std::vector<Usage::Row> out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        out.push_back(
            {rows[r].get<std::string>(0), rows[r].get<std::int64_t>(1), rows[r].get<double>(2)});
    }
    return out;
}

}  // namespace

Result<Period> read_period(const std::optional<std::string>& start_date,
                           const std::optional<std::string>& end_date,
                           const std::optional<std::string>& granularity, base::WallTime now) {
    TRY(const auto start, day_param("start_date", start_date));
    TRY(const auto end, day_param("end_date", end_date));
    Period out{.first = {},
               .last = end.value_or(std::chrono::floor<days>(now)),
               .granularity = granularity.value_or("day")};
    out.first = start.value_or(out.last - k_default_span);
    if (out.last < out.first) return refuse("end_date", "must not be before start_date");
    if (out.last - out.first >= days(k_usage_days_max))
        return refuse("start_date", fmt::format("at most {} days at once", k_usage_days_max));
    if (out.granularity != "day" && out.granularity != "week" && out.granularity != "month")
        return refuse("granularity", "must be one of day, week, month");
    return out;
}

Task<Result<Usage>> UsageReader::read(base::TenantId tenant, Period period, Deadline deadline) {
    const base::WallTime from = period.first, until = period.last + days(1);
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(postgres::call(k_by_date, tenant, from, until, period.granularity));
    calls.push_back(postgres::call(k_by_model, tenant, from, until));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    Usage out{.by_date = rows_of(results[1]), .by_model = rows_of(results[2])};
    for (const auto& row : out.by_date) {
        out.tokens += row.tokens;
        out.cost_usd += row.cost_usd;
    }
    co_return out;
}

}  // namespace millrace::domain::billing
