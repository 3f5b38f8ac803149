#pragma once
// Idempotency-Key where no job is made: the first answer is kept and given again (R3).

#include "edge/middleware/exchange.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::edge::middleware {

class StoredAnswers {
 public:
    /// `pipeline`: of the role that may write the keys.
    explicit StoredAnswers(postgres::Database& pipeline) : db_(pipeline) {}

    /// Runs the endpoint's handler, or with a key that was used before gives its answer, byte for
    /// byte. `conflict` while the first request runs, or with another path or body. A refusal does
    /// not use the key up; one whose process died holds it for a minute. Only for answers of JSON
    /// without headers of their own and without a credential.
    Task<Result<server::Response>> once(Exchange& exchange);

 private:
    postgres::Database& db_;
};

}  // namespace millrace::edge::middleware
