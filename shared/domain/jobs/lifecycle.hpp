#pragma once
// What a worker process may do to jobs: claim, finish under the fence, retry, bury, give back.
// Every write is conditional on the attempt, so whoever lost a job learns it here and nowhere else.

#include <span>
#include <string>
#include <vector>

#include "shared/domain/jobs/job.hpp"
#include "shared/kafka/kafka.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::jobs {

using Epoch = std::int64_t;  ///< one worker process

/// A job in a worker's hands.
struct Claimed {
    JobId id;
    int attempt = 0;       ///< the fencing token
    bool suspect = false;  ///< its process died under it twice: run it alone
};

/// The end of one attempt without effects.
struct Completion {
    JobId id;
    int attempt = 0;
    Status status = Status::succeeded;
    std::string result;  ///< JSON
};

/// What this process has consumed of one topic, for the scheduler's search for jobs that nobody
/// announces.
struct Consumed {
    std::string topic;
    int partitions = 0;
    base::WallTime before{};
};

struct DeadLetter {
    JobId job;
    int attempt = 0;
    std::string cause;  ///< attempts | undecodable | orphan | unknown_kind | …
    std::string detail;
    kafka::Position origin;
};

/// An attempt whose job its owner wants cancelled, or whose claim the database does not know (a
/// crash of the server takes back what had not reached its disk).
struct ToStop {
    base::Uuid id;
    std::int32_t attempt = 0;
    bool owned = false;  ///< it is still the job's attempt: cancelled, not lost
};

/// What an attempt that is given up left behind.
struct GivenUp {
    std::optional<Status> became;         ///< nullopt: somebody else ended it first
    std::optional<base::Uuid> announced;  ///< the outbox row of a job of its key that may run now
};

/// Thin, named access to the statements; the policy is the runtime's.
class Lifecycle {
 public:
    /// `claims` may commit asynchronously (a lost claim is found by the sweep), `durable` must not.
    /// Both as millrace_pipeline.
    Lifecycle(postgres::Database& claims, postgres::Database& durable)
        : claims_(claims), durable_(durable) {}

    Task<Result<Epoch>> next_epoch(Deadline deadline);
    Task<Result<void>> register_worker(Epoch epoch, std::string name, std::string role,
                                       std::chrono::seconds lease, Deadline deadline);
    /// Renews the lease and says what is in flight. `not_found`: the scheduler has written this
    /// process off.
    Task<Result<void>> renew(Epoch epoch, std::vector<base::Uuid> in_flight,
                             std::vector<Consumed> consumed, std::chrono::seconds lease,
                             Deadline deadline);

    /// Claims what is claimable of `ids` (sorted), in the transaction that puts them into the
    /// worker's in-flight list.
    Task<Result<std::vector<Claimed>>> claim(Epoch epoch, std::vector<base::Uuid> ids,
                                             std::vector<base::Uuid> in_flight, Deadline deadline);
    /// nullopt: parked behind an earlier job of its key, or not claimable.
    Task<Result<std::optional<Claimed>>> claim_ordered(Epoch epoch, base::Uuid id, bool dead_blocks,
                                                       std::vector<base::Uuid> in_flight,
                                                       Deadline deadline);
    /// Says which suspect is about to run with nothing beside it (nullopt: none), so that a crash
    /// is laid at its door only. `not_found`: written off.
    Task<Result<void>> run_alone(Epoch epoch, std::optional<JobId> id, Deadline deadline);
    /// Which of these ids exist at all: the others are orphans.
    Task<Result<std::vector<base::Uuid>>> existing(std::vector<base::Uuid> ids, Deadline deadline);
    Task<Result<std::string>> input(base::Uuid id, Deadline deadline);

    /// Ends attempts in one transaction; returns those that were still owned (sorted by id).
    Task<Result<std::vector<base::Uuid>>> complete(std::vector<Completion> batch,
                                                   Deadline deadline);
    /// The wait counts on the database's clock, as every time that processes share. The job becomes
    /// waiting, or cancelled if that was asked for meanwhile.
    Task<Result<GivenUp>> retry(JobId id, int attempt, std::chrono::milliseconds wait,
                                std::string cause, std::string worker, Deadline deadline);
    Task<Result<GivenUp>> bury(DeadLetter letter, std::string worker, bool dead_blocks,
                               Deadline deadline);
    /// A record that is no job of ours: kept as a dead letter, once per `id`.
    Task<Result<void>> bury_record(base::Uuid id, DeadLetter letter, Deadline deadline);
    /// At a stop: unfinished claims become queued again. Such an attempt does not count against the
    /// kind's budget. The outbox rows that announce them.
    Task<Result<std::vector<base::Uuid>>> give_back(Epoch epoch, std::vector<base::Uuid> ids,
                                                    Deadline deadline);
    /// How many attempts of a job were given back.
    Task<Result<int>> returned(JobId id, Deadline deadline);
    /// Which of these running attempts must end.
    Task<Result<std::vector<ToStop>>> to_stop(Epoch epoch, std::vector<base::Uuid> ids,
                                              std::vector<std::int32_t> attempts,
                                              Deadline deadline);
    /// Signs off; gives back whatever the database still holds against this epoch.
    Task<Result<std::vector<base::Uuid>>> leave(Epoch epoch, Deadline deadline);

 private:
    postgres::Database& claims_;
    postgres::Database& durable_;
};

/// The fence as the first statement of a completion with effects; raises MR001 when the attempt is
/// not the owner any more.
[[nodiscard]] postgres::Call fence(const Completion& completion, bool dead_blocks);
/// Whether an error is the fence's refusal.
[[nodiscard]] bool is_fenced(const Error& error);
/// Follow-up jobs of a completion, for the same transaction (one tenant, role millrace_app).
[[nodiscard]] std::vector<postgres::Call> insert_jobs(std::span<const NewJob> jobs,
                                                      const base::Uuid& outbox);

/// The session lock a worker holds on its epoch; the scheduler sees it free when the process is
/// gone.
[[nodiscard]] constexpr std::int64_t worker_lock_key(Epoch epoch) {
    return (std::int64_t{0x4D52} << 48) | epoch;
}

}  // namespace millrace::domain::jobs
