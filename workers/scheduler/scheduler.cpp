#include "workers/scheduler/scheduler.hpp"

#include "shared/domain/audit/audit.hpp"
#include "shared/domain/identity/erasure.hpp"
#include "shared/domain/knowledge/generations.hpp"
#include "shared/domain/objects/orphans.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::workers::scheduler {

namespace {

constexpr std::int64_t k_leader_lock = 0x4D52'0000'0000'0000 | 0x7'FFFF'FFFF;
constexpr auto k_lead_retry = std::chrono::seconds(1);
constexpr auto k_timeout = std::chrono::seconds(3);
constexpr auto k_object_sweep = std::chrono::hours(6);
constexpr auto k_eager = std::chrono::seconds(60);
constexpr auto k_rest_max = std::chrono::seconds(15);  ///< between two searches of that minute
constexpr auto k_slow_answer = std::chrono::seconds(1);

void warn(std::string_view what, const Error& error) {
    telemetry::log::warning(
        "a round of the scheduler failed",
        {{"round", what}, {"cause", error.log.empty() ? error.detail : error.log}});
}

}  // namespace

Scheduler::Scheduler(async::TaskGroup& tasks, postgres::Database& db,
                     domain::jobs::Publisher& publisher, object_store::Store& objects,
                     const events::Catalog& catalog, telemetry::Registry& metrics, Options options)
    : tasks_(tasks),
      db_(db),
      publisher_(publisher),
      objects_(objects),
      recovery_(db, catalog),
      options_(options),
      leading_gauge_(
          metrics.gauge("millrace_scheduler_leading", "1 on the scheduler that leads", {})),
      relayed_total_(
          metrics.counter("millrace_relayed_total", "Jobs whose record the relay published", {})),
      released_total_(
          metrics.counter("millrace_due_released_total", "Waiting jobs that became due", {})),
      requeued_total_(
          metrics.counter("millrace_requeued_total", "Jobs of dead workers queued again", {})),
      buried_total_(
          metrics.counter("millrace_crash_buried_total", "Jobs given up after crashes", {})),
      woken_total_(
          metrics.counter("millrace_parked_woken_total", "Parked jobs woken by the sweep", {})),
      orphans_total_(
          metrics.counter("millrace_orphans_announced_total", "Queued jobs announced again", {})),
      orphaned_objects_total_(metrics.counter("millrace_orphaned_objects_removed_total",
                                              "Objects that no document named", {})),
      ended_uploads_total_(metrics.counter("millrace_unfinished_uploads_ended_total",
                                           "Uploads to the object store never finished", {})) {}

Task<void> Scheduler::run() {
    for (;;) {
        auto lock = co_await db_.try_lock(k_leader_lock, Deadline::in(k_timeout));
        if (lock && *lock) {
            telemetry::log::info("leading", {});
            co_await lead(**lock);
            telemetry::log::warning("no longer leading", {});
        }
        co_await async::delay(tasks_.executor(), k_lead_retry);
    }
}

/// One loop, one thing at a time: each round is short and bounded, and a slow database slows all of
/// them alike.
Task<void> Scheduler::lead(postgres::Lock& lock) {
    leading_ = true;
    led_since_ = std::chrono::steady_clock::now();
    judge_from_ = led_since_ + options_.patience;
    search_took_ = {};
    leading_gauge_.set(1);
    struct Round {
        Task<void> (Scheduler::*act)();
        std::chrono::milliseconds every;
        base::SteadyTime next{};
    };
    Round rounds[] = {
        {&Scheduler::keep_house, options_.housekeeping},
        {&Scheduler::wake_due, options_.tick},
        {&Scheduler::check_workers, options_.worker_check},
        {&Scheduler::relay, std::chrono::milliseconds(500)},
        {&Scheduler::sweep, options_.sweep},
        {&Scheduler::find_orphans, options_.orphan_sweep_first},
        {&Scheduler::seal_audit, options_.audit_seal},
        {&Scheduler::advance_generations, options_.generations},
        {&Scheduler::begin_object_sweep, options_.object_sweep},
    };
    while (lock.held()) {
        for (auto& round : rounds) {
            if (std::chrono::steady_clock::now() < round.next) continue;
            co_await (this->*round.act)();
            round.next = std::chrono::steady_clock::now() + round.every;
        }
        co_await async::delay(tasks_.executor(), options_.tick);
    }
    leading_ = false;
    leading_gauge_.set(0);
}

/// Rows are deleted when their records are confirmed; until then they are not published a second
/// time from here.
Task<void> Scheduler::relay() {
    if (relaying_) co_return;
    auto found = co_await recovery_.unpublished(options_.outbox_age, options_.batch,
                                                Deadline::in(k_timeout));
    if (!found) co_return warn("relay", found.error());
    if (found->empty()) co_return;
    relaying_ = true;
    auto left = std::make_shared<std::size_t>(found->size());
    for (auto& announcement : *found) {
        relayed_total_.add(announcement.jobs.size());
        publisher_.publish(std::move(announcement), [this, left](bool) {
            if (--*left == 0) relaying_ = false;
        });
    }
}

Task<void> Scheduler::wake_due() {
    for (;;) {
        auto released = co_await recovery_.release_due(options_.batch, Deadline::in(k_timeout));
        if (!released) co_return warn("due", released.error());
        if (released->jobs.empty()) co_return;
        released_total_.add(released->jobs.size());
        const bool more = released->jobs.size() >= static_cast<std::size_t>(options_.batch);
        publisher_.publish(std::move(*released));
        if (!more) co_return;
    }
}

/// While the database was away or frozen nobody could renew a lease, and a restart frees all locks:
/// then those that live get the time to come back. A new leader knows only that it could not ask.
Task<void> Scheduler::check_workers() {
    const auto asked = std::chrono::steady_clock::now();
    auto gone = co_await recovery_.gone_workers(Deadline::in(k_timeout));
    const auto answered = std::chrono::steady_clock::now();
    if (!gone || answered - asked > k_slow_answer) judge_from_ = answered + options_.patience;
    if (!gone) co_return warn("workers", gone.error());
    if (answered < judge_from_) co_return;
    for (auto& worker : *gone) {
        const auto name = worker.name;
        const auto why = worker.why;
        auto done = co_await recovery_.requeue(std::move(worker), options_.crashes_max,
                                               Deadline::in(k_timeout));
        if (!done) {
            warn("requeue", done.error());
            continue;
        }
        telemetry::log::warning("a worker is gone",
                                {{"worker", name},
                                 {"why", why},
                                 {"requeued", static_cast<std::int64_t>(done->jobs)},
                                 {"buried", static_cast<std::int64_t>(done->buried.size())}});
        requeued_total_.add(done->jobs);
        publisher_.announce(done->announced);
        buried_total_.add(done->buried.size());
        for (const auto& job : done->buried) {
            publisher_.publish_dead_letter(
                {job.id, options_.crashes_max, why, "the worker " + why + " each time", {}}, job);
        }
    }
}

Task<void> Scheduler::sweep() {
    const auto woken = co_await recovery_.wake_parked(Deadline::in(k_timeout));
    if (!woken) co_return warn("parked", woken.error());
    woken_total_.add(woken->size());
    publisher_.announce(*woken);
}

/// A restart of the server loses claims that had not reached its disk, and ends every leadership:
/// so the search is eager in the first minute, and slow afterwards. It goes on where the first job
/// stands that has not ended; once an hour over everything, since clocks of edges differ and
/// operators send old jobs round again. It reads the whole backlog: of a long one only so often
/// that it takes a twentieth of the time.
Task<void> Scheduler::find_orphans() {
    const auto now = std::chrono::steady_clock::now();
    if (now - led_since_ > k_eager && now - searched_ < options_.orphan_sweep) co_return;
    if (now - searched_ < std::min<std::chrono::nanoseconds>(20 * search_took_, k_rest_max))
        co_return;
    searched_ = now;
    if (searched_all_ < led_since_ || now - searched_all_ > options_.housekeeping) {
        searched_all_ = now;
        search_from_ = {};
    }
    const auto found = co_await recovery_.announce_orphans(search_from_, Deadline::in(k_timeout));
    if (!found) co_return warn("orphans", found.error());
    search_took_ = std::chrono::steady_clock::now() - now;
    if (found->jobs > 0)
        telemetry::log::warning("queued jobs that nobody announced",
                                {{"jobs", static_cast<std::int64_t>(found->jobs)}});
    orphans_total_.add(found->jobs);
    publisher_.announce(found->announced);
}

/// The newest seal goes to the log as well: whoever could write the database anew cannot write what
/// has been shipped.
Task<void> Scheduler::seal_audit() {
    const auto seal = co_await domain::audit::seal(db_, Deadline::in(k_timeout));
    if (!seal) co_return warn("audit", seal.error());
    if (seal->rows == 0) co_return;
    telemetry::log::info(
        "audit rows were sealed",
        {{"rows", std::int64_t{seal->rows}}, {"seal", seal->number}, {"hash", seal->hash}});
}

/// Most advance by themselves as their jobs end; this is for jobs that were buried or cancelled.
Task<void> Scheduler::advance_generations() {
    const auto announced =
        co_await domain::knowledge::advance_generations(db_, Deadline::in(k_timeout));
    if (!announced) co_return warn("generations", announced.error());
    publisher_.announce(*announced);
    const auto pruned =
        co_await domain::knowledge::prune_generations(db_, options_.batch, Deadline::in(k_timeout));
    if (!pruned) warn("old generations", pruned.error());
}

Task<void> Scheduler::keep_house() {
    const auto deadline = Deadline::in(std::chrono::seconds(10));
    if (const auto made = co_await recovery_.ensure_partitions(options_.partitions_ahead, deadline);
        !made)
        warn("partitions", made.error());
    if (const auto gone = co_await recovery_.drop_partitions(options_.job_retention, deadline);
        !gone)
        warn("retention", gone.error());
    if (const auto old =
            co_await recovery_.purge_idempotency(options_.idempotency_retention, deadline);
        !old)
        warn("keys", old.error());
    if (const auto old = co_await domain::identity::purge_credentials(db_, deadline); !old)
        warn("credentials", old.error());
    if (const auto old = co_await domain::knowledge::expire_generations(db_, deadline); !old)
        warn("index generations", old.error());
}

/// Apart from the rounds: a store that is slow or away must not hold them up. It goes on when
/// another leads: two at once cost work only.
Task<void> Scheduler::begin_object_sweep() {
    if (!std::exchange(sweeping_objects_, true)) tasks_.spawn("object sweep", sweep_objects());
    co_return;
}

Task<void> Scheduler::sweep_objects() {
    struct Done {
        bool& running;
        ~Done() { running = false; }
    } const done{sweeping_objects_};
    domain::objects::Swept swept;
    const auto ended = co_await domain::objects::sweep(
        objects_, db_, {.age = options_.object_age}, swept,
        [this](const object_store::Listed&) { orphaned_objects_total_.add(); },
        Deadline::in(k_object_sweep));
    ended_uploads_total_.add(swept.uploads);
    telemetry::log::info("objects that no document names were looked for",
                         {{"seen", static_cast<std::int64_t>(swept.seen)},
                          {"removed", static_cast<std::int64_t>(swept.orphans)},
                          {"bytes", static_cast<std::int64_t>(swept.bytes)},
                          {"uploads", static_cast<std::int64_t>(swept.uploads)}});
    if (!ended) warn("objects", ended.error());
}

}  // namespace millrace::workers::scheduler
