#pragma once
// The life of a worker process: fetch, claim, store the offset, run, settle (design §1, arrows 5 to
// 7).

#include <map>
#include <memory>
#include <set>
#include <unordered_map>

#include "shared/domain/billing/budgets.hpp"
#include "shared/domain/billing/prices.hpp"
#include "shared/telemetry/metrics.hpp"
#include "shared/telemetry/trace.hpp"
#include "workers/runtime/fair_queue.hpp"
#include "workers/runtime/membership.hpp"
#include "workers/runtime/settle.hpp"

namespace millrace::workers::runtime {

struct WorkerOptions {
    Membership::Options membership;
    std::size_t concurrency = 32;    ///< handlers running at once
    std::size_t claimed_max = 1024;  ///< claimed and not finished, running ones included
    std::size_t fetch_max = 256;     ///< records per claim
    std::chrono::seconds cancel_grace{
        5};  ///< after its timeout, before the process counts as stuck
};

enum class Stop : std::uint8_t;

class Worker {
 public:
    struct Ports {
        Settler::Ports settle;
        kafka::Consumer& consumer;
        redis::Subscriber& subscriber;
        postgres::Database& durable;  ///< millrace_pipeline, synchronous commit
        postgres::Database& claims;   ///< millrace_pipeline, asynchronous commit
        telemetry::Tracer& tracer;
        telemetry::Registry& metrics;
        const domain::billing::Prices& prices;
    };

    Worker(Executor executor, async::TaskGroup& tasks, Ports ports,
           std::map<std::string, Handler> handlers, WorkerOptions options);
    ~Worker();

    Task<Result<void>> join(Deadline deadline) { return membership_.join(deadline); }
    /// Works until `stopping` is set, then gives back what has not started, waits up to `grace` for
    /// what runs, gives that back too, and leaves. Returns early, with an error, when the scheduler
    /// has written this process off.
    Task<Result<void>> run(async::Event& stopping, std::chrono::seconds grace);

 private:
    class Running;   // one attempt
    struct Fetched;  // the records of one fetch
    struct FetchedOne;

    Task<void> intake();
    Task<bool> take(std::vector<kafka::Record> records);
    Task<Fetched> decode(std::vector<kafka::Record>& records);
    Task<bool> claim(Fetched& fetched);
    Task<bool> claim_ordered(Fetched& fetched);
    Task<void> bury_orphans(const std::map<base::Uuid, FetchedOne>& fetched);
    void enqueue(FetchedOne one, const domain::jobs::Claimed& claimed);

    void start_next();
    Task<void> run_attempt(std::shared_ptr<Running> running);
    Task<bool> mark_alone(base::JobId id);
    Task<Result<Outcome>> call_handler(std::shared_ptr<Running> running);
    Task<Result<void>> find_repeated(Running& running);
    void finished(const Running& running, Settled settled);
    Task<void> watch();
    void stop(const base::Uuid& id, Stop why);
    Task<void> stop_attempts();
    Task<void> keep_membership();

    Membership::Report report();
    [[nodiscard]] std::vector<base::Uuid> held() const;

    Executor executor_;
    async::TaskGroup& tasks_;
    async::TaskGroup attempts_;
    Ports ports_;
    WorkerOptions options_;
    std::map<std::string, Handler> handlers_;
    domain::jobs::Lifecycle lifecycle_;
    Membership membership_;
    Settler settler_;
    domain::billing::Budgets budgets_;
    std::set<std::string, std::less<>> unpriced_;  ///< models that were called and have no price
    FairQueue queue_;
    std::deque<Queued> suspects_;                  ///< each runs by itself
    std::unordered_map<base::Uuid, int> claimed_;  ///< held by this process: id -> attempt
    std::vector<base::Uuid> claiming_;             ///< on their way into claimed_
    std::unordered_map<base::Uuid, std::shared_ptr<Running>> running_;
    std::map<std::pair<std::string, std::int32_t>, base::WallTime>
        consumed_;              ///< publication time of the last claimed record
    std::size_t handling_ = 0;  ///< places taken, of `concurrency`
    async::Event room_;
    bool alone_ = false;   ///< a suspect runs
    bool taking_ = false;  ///< records are between fetch and claim
    bool stuck_ = false;   ///< an attempt neither ends nor can be cancelled
    bool draining_ = false;
    bool written_off_ = false;
    redis::Subscriber::Token cancel_token_ = 0;

    telemetry::Counter& finished_total_;
    telemetry::Counter& retried_total_;
    telemetry::Counter& fenced_total_;
    telemetry::Counter& dead_total_;
    telemetry::Gauge& running_gauge_;
    telemetry::Histogram& seconds_;
};

}  // namespace millrace::workers::runtime
