#pragma once
// How many THLI-24 assessments a person may complete in a calendar month of UTC (contract
// habits.md, section 5).

#include "shared/domain/identity/principal.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::habits {

inline constexpr std::int32_t k_free_limit = 10;

struct Quota {
    std::int32_t used = 0;
    std::int32_t limit = k_free_limit;  ///< -1: none
    base::WallTime period_start, period_end;

    [[nodiscard]] bool is_unlimited() const noexcept { return limit < 0; }
    /// -1 without a limit.
    [[nodiscard]] std::int32_t remaining() const noexcept {
        return is_unlimited() ? -1 : std::max(limit - used, 0);
    }
};

/// This month's, begun if need be with the limit of the last month that has one.
Task<Result<Quota>> quota_of(postgres::Database& app, identity::Principal who, Deadline deadline);

}  // namespace millrace::domain::habits
