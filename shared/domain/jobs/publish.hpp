#pragma once
// From a committed outbox row to Kafka, and the row's removal once every record of it is confirmed.

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "shared/async/batcher.hpp"
#include "shared/domain/jobs/job.hpp"
#include "shared/domain/jobs/lifecycle.hpp"
#include "shared/events/cloud_event.hpp"
#include "shared/kafka/kafka.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::jobs {

/// Jobs that one outbox row announces.
struct Announcement {
    base::Uuid outbox;
    std::vector<NewJob> jobs;
};

/// Rows of (outbox, job…) in outbox order; a row without a job is an outbox row whose jobs have all
/// moved on. Outbox rows with a kind that this version does not know are left for one that does.
[[nodiscard]] std::vector<Announcement> announcements_of(const postgres::Rows& rows,
                                                         const events::Catalog& catalog);
/// What these outbox rows announce. Rows that are gone, or whose jobs have all moved on, are left
/// out.
Task<Result<std::vector<Announcement>>> find_announcements(postgres::Database& db,
                                                           const events::Catalog& catalog,
                                                           std::vector<base::Uuid> outbox,
                                                           Deadline deadline);

/// The record of one job, as every announcement of it looks.
[[nodiscard]] kafka::OutRecord make_record(const NewJob& job, const events::Catalog& catalog);

/// One per process. If the broker is away or slow it forgets: the scheduler's relay publishes what
/// stays in the outbox.
class Publisher {
 public:
    /// `background` commits asynchronously: a deletion that is lost only makes a record appear
    /// twice.
    Publisher(async::TaskGroup& tasks, kafka::Producer& producer, postgres::Database& background,
              const events::Catalog& catalog);

    void publish(Announcement announcement, std::function<void(bool all_delivered)> done = {});
    /// The same for outbox rows that a function of the database has written.
    void announce(std::span<const base::Uuid> outbox);

    /// What became of a record that will not run (again): the record itself, with `dead_*` headers,
    /// on the dead-letters topic. The row in dead_letters is the truth; this is for tools that
    /// follow the topic.
    void publish_dead_letter(const DeadLetter& letter, kafka::OutRecord record);
    void publish_dead_letter(const DeadLetter& letter, const NewJob& job) {
        publish_dead_letter(letter, make_record(job, catalog_));
    }

    struct Stats {
        std::uint64_t published = 0, failed = 0, outbox_deleted = 0;
    };
    [[nodiscard]] const Stats& stats() const noexcept { return stats_; }
    /// At a stop, once nothing more is published: what is on its way is confirmed and its rows are
    /// deleted, or the deadline passes.
    Task<void> drain(Deadline deadline);

 private:
    Task<void> publish_rows(std::vector<base::Uuid> outbox);
    Task<void> delete_rows(std::vector<base::Uuid> rows);
    [[nodiscard]] kafka::OutRecord placed(const NewJob& job) const;

    kafka::Producer& producer_;
    postgres::Database& background_;
    const events::Catalog& catalog_;
    Stats stats_;
    std::uint32_t turn_ = 0;
    async::Batcher<base::Uuid> announced_, deletes_;
};

/// Accepts `job` in one transaction of its tenant together with `calls` (as millrace_app, the
/// tenant set), then publishes it. What the calls returned, in their order.
Task<Result<std::vector<postgres::Rows>>> accept_with(postgres::Database& app, Publisher& publisher,
                                                      std::vector<postgres::Call> calls, NewJob job,
                                                      Deadline deadline);

/// The same, but only when the first of `calls` returns or touches a row. False: it did not, and
/// nothing has happened.
Task<Result<bool>> accept_if(postgres::Database& app, Publisher& publisher,
                             std::vector<postgres::Call> calls, NewJob job, Deadline deadline);

}  // namespace millrace::domain::jobs
