#pragma once
// What the scheduler does so that nothing accepted is forgotten. Every act is a conditional write:
// running two schedulers at once costs work, never correctness.

#include <string>
#include <vector>

#include "shared/domain/jobs/lifecycle.hpp"
#include "shared/domain/jobs/publish.hpp"

namespace millrace::domain::jobs {

class Recovery {
 public:
    Recovery(postgres::Database& db, const events::Catalog& catalog) : db_(db), catalog_(catalog) {}

    /// Outbox rows older than `age`, with their jobs that still wait for a record. Rows whose jobs
    /// have all moved on come back empty.
    Task<Result<std::vector<Announcement>>> unpublished(std::chrono::seconds age, int rows_max,
                                                        Deadline deadline);
    /// Jobs that became due, announced through the outbox; publish them at once.
    Task<Result<Announcement>> release_due(int batch, Deadline deadline);

    struct Gone {
        Epoch epoch;
        std::string name;
        std::string why;  ///< crashed (its lock is free) or hung (its lease is past)
    };
    /// Workers whose lock is free, or whose lease is past. Empty in the first seconds of a
    /// PostgreSQL server's life.
    Task<Result<std::vector<Gone>>> gone_workers(Deadline deadline);
    struct Requeued {
        std::vector<base::Uuid> announced;  ///< outbox rows
        std::size_t jobs = 0;               ///< queued again
        std::vector<NewJob> buried;         ///< given up after too many crashes
    };
    Task<Result<Requeued>> requeue(Gone worker, int crashes_max, Deadline deadline);

    /// Parked jobs that nothing stands before any more are woken: the outbox row of each.
    Task<Result<std::vector<base::Uuid>>> wake_parked(Deadline deadline);
    struct Orphans {
        std::vector<base::Uuid> announced;  ///< outbox rows
        std::size_t jobs = 0;
    };
    /// Queued jobs of a topic that the group has consumed past, and no outbox row announces, are
    /// announced again. Looks from the job `from` on, and moves it to the first that has not ended;
    /// a nil id looks at all.
    Task<Result<Orphans>> announce_orphans(base::Uuid& from, Deadline deadline);

    Task<Result<std::size_t>> ensure_partitions(int days_ahead, Deadline deadline);
    Task<Result<std::size_t>> drop_partitions(std::chrono::days older_than, Deadline deadline);
    Task<Result<std::size_t>> purge_idempotency(std::chrono::hours older_than, Deadline deadline);

 private:
    Task<Result<std::size_t>> count(postgres::Call call, Deadline deadline);

    postgres::Database& db_;
    const events::Catalog& catalog_;
};

}  // namespace millrace::domain::jobs
