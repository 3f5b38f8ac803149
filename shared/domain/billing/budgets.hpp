#pragma once
// A tenant's budget of a calendar month (UTC): set aside before a model call, settled by the call's
// usage row (schemas/sql/0015_money.sql).

#include <optional>
#include <string>

#include "shared/postgres/postgres.hpp"

namespace millrace::domain::billing {

inline constexpr std::string_view k_budget_exceeded = "BUDGET_EXCEEDED";

/// One model, speech or embedding call of a job's attempt.
struct CallId {
    base::JobId job;
    int attempt = 0, call = 0;
};

struct Budget {
    std::optional<double> limit_usd;  ///< none: nothing is refused
    double spent_usd = 0, reserved_usd = 0;
    base::WallTime resets_at{};
};

/// When the next month begins.
[[nodiscard]] base::WallTime budget_resets_at(base::WallTime now);
/// `rate_limited`, BUDGET_EXCEEDED, until the month is over.
[[nodiscard]] std::unexpected<Error> budget_exceeded(base::WallTime now);

class Budgets {
 public:
    explicit Budgets(postgres::Database& app) : app_(app) {}

    /// budget_exceeded() when the rest of the month's budget is less than `usd`.
    Task<Result<void>> reserve(base::TenantId tenant, CallId call, double usd, Deadline deadline);
    Task<Result<Budget>> find(base::TenantId tenant, Deadline deadline);

 private:
    postgres::Database& app_;
};

}  // namespace millrace::domain::billing
