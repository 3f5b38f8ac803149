#pragma once
// Jobs that operators send round again or repeat (design §3, "Replay").
//
// Again: a failed, dead or cancelled job is queued once more. Repeated: a new job with replay_of
// set, in the lane "replay". A shadow is a repeated job whose effects are not applied; its order
// key is one of its own, so that it never stands in a real job's way.

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/jobs/job.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::jobs {

inline constexpr std::string_view k_replay_lane = "replay";

/// What a repeated job is to its worker.
struct Repeated {
    base::Uuid run;
    JobId of;      ///< the job that it repeats
    JobId origin;  ///< whose external keys it uses
    bool shadow = false;
    std::string order_key;  ///< of the job that it repeats
};
/// nullopt: an ordinary job. As millrace_pipeline.
[[nodiscard]] Task<Result<std::optional<Repeated>>> find_repeated(postgres::Database& db, JobId id,
                                                                  Deadline deadline);
/// What a shadow leaves instead of effects: its result beside the old one. As millrace_app.
[[nodiscard]] postgres::Call keep_beside(const Repeated& repeated, TenantId tenant, Status outcome,
                                         const std::string& result);

/// A job as a replay looks at it.
struct Candidate {
    JobId id;
    std::int64_t seq = 0;
    std::string kind;
    Status status = Status::queued;
    bool shadow = false;  ///< made for a comparison: never replayed itself
};
enum class Redriven : std::uint8_t { queued, busy, unchanged, unknown };

class Replay {
 public:
    /// As millrace_pipeline. `actor` is told in the attempts of each job.
    Replay(postgres::Database& db, const events::Catalog& catalog, std::string actor)
        : db_(db), catalog_(catalog), actor_(std::move(actor)) {}

    /// Those of `ids` that exist, in the order in which they were accepted.
    Task<Result<std::vector<Candidate>>> find(std::vector<base::Uuid> ids, Deadline deadline);
    /// Queues ended jobs again, announced by `outbox`; the outcome per job. `lane` empty: each in
    /// its own.
    Task<Result<std::vector<std::pair<JobId, Redriven>>>> redrive(std::vector<base::Uuid> ids,
                                                                  std::string_view lane,
                                                                  base::Uuid outbox,
                                                                  Deadline deadline);
    struct Pair {
        base::Uuid copy, of;
    };
    struct Mode {
        base::Uuid run;
        bool shadow = false;
        bool repeat_effects = false;
    };
    /// Makes new jobs that repeat old ones, announced by `outbox`. The same call again changes
    /// nothing.
    Task<Result<void>> repeat(std::vector<Pair> pairs, Mode mode, base::Uuid outbox,
                              telemetry::TraceContext trace, Deadline deadline);
    /// Queued jobs among `ids` as their announcement needs them, in the order of their acceptance.
    Task<Result<std::vector<NewJob>>> load(std::vector<base::Uuid> ids, Deadline deadline);
    /// Their records are confirmed.
    Task<Result<void>> announced(base::Uuid outbox, Deadline deadline);

 private:
    postgres::Database& db_;
    const events::Catalog& catalog_;
    std::string actor_;
};

}  // namespace millrace::domain::jobs
