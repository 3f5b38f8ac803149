#pragma once
// THLI-24, levels of habits (contract habits.md). Its accounts are the planner's.

#include <vector>

#include "edge/middleware/exchange.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::edge::surfaces::habits {

struct Ports {
    postgres::Database& app;
};

/// `{error:{code, message, retryable}}`, in Japanese.
[[nodiscard]] middleware::Surface surface();
[[nodiscard]] std::vector<middleware::Endpoint> quota_endpoints(Ports ports);

}  // namespace millrace::edge::surfaces::habits
