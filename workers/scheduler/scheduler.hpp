#pragma once
// The one who remembers: relays what stayed in the outbox, wakes what is due, finds dead workers,
// parked keys, jobs that nobody announces and objects that no document names. One leads; being
// leader saves work, it proves nothing: every act is a conditional write.

#include "shared/domain/jobs/recovery.hpp"
#include "shared/object_store/object_store.hpp"
#include "shared/telemetry/metrics.hpp"

namespace millrace::workers::scheduler {

struct Options {
    std::chrono::seconds outbox_age{6};   ///< older rows are relayed
    std::chrono::milliseconds tick{200};  ///< due jobs
    std::chrono::milliseconds worker_check{500};
    std::chrono::seconds patience{
        5};                          ///< nobody is written off so soon after the database was away
    std::chrono::seconds sweep{60};  ///< parked keys
    std::chrono::seconds orphan_sweep{60};       ///< jobs that nobody announces
    std::chrono::seconds orphan_sweep_first{5};  ///< the same, in the first minute of a leadership
    std::chrono::seconds audit_seal{5};          ///< what was recorded is sealed
    std::chrono::seconds generations{2};         ///< indexes that are made anew go on
    std::chrono::seconds housekeeping{3600};
    std::chrono::milliseconds object_sweep{3'600'000};  ///< objects that no document names
    std::chrono::milliseconds object_age{172'800'000};  ///< only older ones go
    int batch = 256;
    int crashes_max = 3;
    int partitions_ahead = 7;
    std::chrono::days job_retention{30};
    std::chrono::hours idempotency_retention{24};
};

class Scheduler {
 public:
    Scheduler(async::TaskGroup& tasks, postgres::Database& db, domain::jobs::Publisher& publisher,
              object_store::Store& objects, const events::Catalog& catalog,
              telemetry::Registry& metrics, Options options);

    /// Leads when it can, until cancelled.
    Task<void> run();
    [[nodiscard]] bool leading() const noexcept { return leading_; }

 private:
    Task<void> lead(postgres::Lock& lock);
    Task<void> relay();
    Task<void> wake_due();
    Task<void> check_workers();
    Task<void> sweep();
    Task<void> find_orphans();
    Task<void> seal_audit();
    Task<void> advance_generations();
    Task<void> keep_house();
    Task<void> begin_object_sweep();
    Task<void> sweep_objects();

    async::TaskGroup& tasks_;
    postgres::Database& db_;
    domain::jobs::Publisher& publisher_;
    object_store::Store& objects_;
    domain::jobs::Recovery recovery_;
    Options options_;
    bool leading_ = false;
    base::SteadyTime led_since_{}, searched_{}, searched_all_{};
    std::chrono::nanoseconds search_took_{};
    base::Uuid search_from_;  ///< all jobs before it have ended, or were looked at within the hour
    bool relaying_ = false;   ///< publications of the last relay are still on their way
    bool sweeping_objects_ = false;
    base::SteadyTime
        judge_from_{};  ///< before this, the database's silence may be why a lease is past

    telemetry::Gauge& leading_gauge_;
    telemetry::Counter& relayed_total_;
    telemetry::Counter& released_total_;
    telemetry::Counter& requeued_total_;
    telemetry::Counter& buried_total_;
    telemetry::Counter& woken_total_;
    telemetry::Counter& orphans_total_;
    telemetry::Counter& orphaned_objects_total_;
    telemetry::Counter& ended_uploads_total_;
};

}  // namespace millrace::workers::scheduler
