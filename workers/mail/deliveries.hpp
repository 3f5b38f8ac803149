#pragma once
// The account of what was handed to a mail server (schemas/sql/0007_mail.sql): a mail whose outcome
// nobody saw is sent once more, with the same Message-ID, and then given up.

#include <string>

#include "shared/base/uuid.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::workers::mail {

class Deliveries {
 public:
    explicit Deliveries(postgres::Database& app) : app_(app) {}

    enum class Verdict : std::uint8_t {
        go,
        wait,  ///< another attempt may still be at it
        sent,  ///< it has been
        given_up,
    };
    /// Before the mail of the job `origin` is sent. What `go` allows ends within `patience`.
    Task<Result<Verdict>> begin(base::JobId origin, base::TenantId tenant,
                                std::chrono::milliseconds patience, Deadline deadline);

    enum class State : std::uint8_t { sent, unsent, refused, unknown };
    /// What became of it, as a transaction of its own: it is so, whoever owns the job by now.
    Task<Result<void>> note(base::JobId origin, base::TenantId tenant, State state,
                            std::string cause, Deadline deadline);

 private:
    postgres::Database& app_;
};

}  // namespace millrace::workers::mail
