#pragma once
// What was used, by day, week or month (contract knowledge.md §3.6). Days are UTC.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "shared/postgres/postgres.hpp"

namespace millrace::domain::billing {

inline constexpr int k_usage_days_max = 1100;  ///< about three years

struct Period {
    std::chrono::sys_days first, last;  ///< both inclusive
    std::string granularity;            ///< day | week | month
};
/// The query's parameters, absent or as sent: the last 30 days by day unless they say otherwise.
/// A date is YYYY-MM-DD, or a date-time of RFC 3339, whose UTC day counts.
[[nodiscard]] Result<Period> read_period(const std::optional<std::string>& start_date,
                                         const std::optional<std::string>& end_date,
                                         const std::optional<std::string>& granularity,
                                         base::WallTime now);

struct Usage {
    struct Row {
        std::string name;  ///< first day of the period (weeks begin on Monday), or a model
        std::int64_t tokens = 0;
        double cost_usd = 0;
    };
    std::int64_t tokens = 0;
    double cost_usd = 0;
    std::vector<Row> by_date;   ///< every period of the range, also those without use
    std::vector<Row> by_model;  ///< dearest first
};

class UsageReader {
 public:
    explicit UsageReader(postgres::Database& app) : app_(app) {}
    Task<Result<Usage>> read(base::TenantId tenant, Period period, Deadline deadline);

 private:
    postgres::Database& app_;
};

}  // namespace millrace::domain::billing
