#pragma once
// Reading and cancelling jobs, for the edge.

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/jobs/job.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::jobs {

class Reader {
 public:
    /// As millrace_pipeline: ids are looked up across tenants, the caller checks the owner.
    explicit Reader(postgres::Database& db) : db_(db) {}

    /// Those of `ids` that exist, in no particular order.
    Task<Result<std::vector<View>>> find(std::vector<base::Uuid> ids, Deadline deadline);
    Task<Result<std::optional<View>>> find(JobId id, Deadline deadline);
    /// One's own jobs (not those that operators made of them), newest first, at most `limit`, older
    /// than `before` when given.
    Task<Result<std::vector<View>>> list(UserId owner, int limit, std::optional<JobId> before,
                                         std::optional<Status> status, Deadline deadline);
    struct Cancelled {
        std::optional<Status> before;         ///< nullopt: there is no such job
        std::optional<base::Uuid> announced;  ///< the outbox row of the next job of its key
    };
    Task<Result<Cancelled>> cancel(JobId id, Deadline deadline);

 private:
    postgres::Database& db_;
};

}  // namespace millrace::domain::jobs
