#pragma once
// libpq's results, owned; and what they say as an Error.

#include <libpq-fe.h>

#include <memory>

#include "shared/postgres/postgres.hpp"

namespace millrace::postgres {

struct ClearResult {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, ClearResult>;

struct Rows::Impl {
    ResultPtr result;
};

/// The Error of a failed result (PGRES_FATAL_ERROR).
[[nodiscard]] Error error_of(const PGresult* result);
/// Not connected, or the connection broke. `sent`: the statement may have been carried out.
[[nodiscard]] Error broken(std::string_view why, bool sent);
/// The caller's deadline passed.
[[nodiscard]] Error late(bool sent);

}  // namespace millrace::postgres
