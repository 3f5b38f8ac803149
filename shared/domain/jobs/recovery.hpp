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

    /// What these outbox rows announce, to publish it now. A row that is gone is left out.
    Task<Result<std::vector<Announcement>>> announcements(std::vector<base::Uuid> outbox,
                                                          Deadline deadline);

    struct Gone {
        Epoch epoch;
        std::string name;
        std::string why;  ///< crashed (its lock is free) or hung (its lease is past)
    };
    /// Workers whose lock is free, or whose lease is past. Empty in the first seconds of a
    /// PostgreSQL server's life.
    Task<Result<std::vector<Gone>>> gone_workers(Deadline deadline);
    struct Requeued {
        Announcement announcement;
        std::vector<NewJob> buried;  ///< given up after too many crashes
    };
    Task<Result<Requeued>> requeue(Gone worker, int crashes_max, Deadline deadline);

    /// Parked jobs that nothing stands before any more; how many were woken.
    Task<Result<std::size_t>> wake_parked(Deadline deadline);
    /// Queued jobs of a topic that the group has consumed past, and no outbox row announces:
    /// announced again; how many. Looks from the job `from` on, and moves it to the first that has
    /// not ended; a nil id looks at all.
    Task<Result<std::size_t>> announce_orphans(base::Uuid& from, Deadline deadline);

    Task<Result<std::size_t>> ensure_partitions(int days_ahead, Deadline deadline);
    Task<Result<std::size_t>> drop_partitions(std::chrono::days older_than, Deadline deadline);
    Task<Result<std::size_t>> purge_idempotency(std::chrono::hours older_than, Deadline deadline);

 private:
    Task<Result<std::size_t>> count(postgres::Call call, Deadline deadline);
    /// The jobs of one outbox row; a nil id gives an empty announcement.
    Task<Result<Announcement>> announcement(base::Uuid outbox, Deadline deadline);

    postgres::Database& db_;
    const events::Catalog& catalog_;
};

}  // namespace millrace::domain::jobs
