#pragma once
// A connection string as the environment that PostgreSQL's own programs read, where no list of
// processes shows it.

#include <string>
#include <utility>
#include <vector>

#include "shared/base/result.hpp"

namespace millrace::postgres {

/// PGHOST, PGPASSWORD, …; `invalid` for what is no connection string.
[[nodiscard]] Result<std::vector<std::pair<std::string, std::string>>> environment_of(
    const std::string& dsn);

}  // namespace millrace::postgres
