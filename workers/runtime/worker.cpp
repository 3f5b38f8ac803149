#include "workers/runtime/worker.hpp"

#include <cstring>

#include "shared/telemetry/log.hpp"
#include "workers/runtime/running.hpp"

namespace millrace::workers::runtime {

namespace {
constexpr auto k_close_timeout = std::chrono::seconds(5);
constexpr auto k_cut_timeout = std::chrono::seconds(2);

void log_died(const std::string& name, const std::string& what) {
    telemetry::log::error("a task died", {{"task", name}, {"cause", what}});
}
}  // namespace

Worker::Worker(Executor executor, async::TaskGroup& tasks, Ports ports,
               std::map<std::string, Handler> handlers, WorkerOptions options)
    : executor_(executor),
      tasks_(tasks),
      attempts_(executor, log_died),
      ports_(ports),
      options_(std::move(options)),
      handlers_(std::move(handlers)),
      lifecycle_(ports.claims, ports.durable),
      membership_(ports.durable, lifecycle_, options_.membership),
      settler_(tasks, ports.settle, options_.membership.name),
      budgets_(ports.settle.app),
      room_(executor),
      finished_total_(ports.metrics.counter("millrace_attempts_total", "Attempts that ended",
                                            {{"settled", "committed"}})),
      retried_total_(ports.metrics.counter("millrace_attempts_total", "Attempts that ended",
                                           {{"settled", "retried"}})),
      fenced_total_(ports.metrics.counter("millrace_attempts_total", "Attempts that ended",
                                          {{"settled", "fenced"}})),
      dead_total_(ports.metrics.counter("millrace_attempts_total", "Attempts that ended",
                                        {{"settled", "dead"}})),
      running_gauge_(ports.metrics.gauge("millrace_attempts_running", "Attempts running now", {})),
      seconds_(ports.metrics.histogram("millrace_attempt_seconds", "How long attempts took", {},
                                       {0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300})) {
    cancel_token_ = ports_.subscriber.subscribe(
        std::string(domain::jobs::k_cancel_channel), [this](std::string_view payload) {
            base::Uuid id;
            if (payload.size() != id.bytes.size()) return;
            std::memcpy(id.bytes.data(), payload.data(), payload.size());
            stop(id, Stop::client);
        });
}

Worker::~Worker() {
    ports_.subscriber.unsubscribe(cancel_token_);
}

Task<void> Worker::keep_membership() {
    co_await membership_.keep([this] { return report(); });
    written_off_ = true;
}

Task<Result<void>> Worker::run(async::Event& stopping, std::chrono::seconds grace) {
    const auto watching = tasks_.spawn("watch", watch());
    const auto keeping = tasks_.spawn("membership", keep_membership());
    tasks_.spawn("intake", intake());
    while (!stopping.is_set() && !written_off_)
        co_await stopping.wait(Deadline::in(std::chrono::milliseconds(200)));

    draining_ = true;
    co_await ports_.consumer.close(Deadline::in(k_close_timeout));
    std::vector<base::Uuid> unstarted;
    for (auto& queued : queue_.drain()) unstarted.push_back(queued.job.id.uuid);
    for (auto& queued : suspects_) unstarted.push_back(queued.job.id.uuid);
    suspects_.clear();
    if (!written_off_ && !unstarted.empty()) {
        const auto returned = co_await lifecycle_.give_back(membership_.epoch(), unstarted,
                                                            Deadline::in(k_close_timeout));
        if (returned) ports_.settle.publisher.announce(*returned);  // else leave() does it
        for (const auto& id : unstarted) claimed_.erase(id);
    }
    if (!written_off_) co_await attempts_.join(Deadline::in(grace));
    for (auto& [id, running] : running_) {
        if (running->stop == Stop::none) running->stop = Stop::shutdown;
    }
    attempts_.cancel();
    co_await attempts_.join(Deadline::in(k_cut_timeout));
    tasks_.cancel(watching);
    tasks_.cancel(keeping);
    if (written_off_) {
        co_return fail(ErrorCode::unavailable, "written off",
                       {.log = "the scheduler gave this process's jobs to others"});
    }
    ports_.settle.publisher.announce(co_await membership_.leave(Deadline::in(k_close_timeout)));
    co_return Result<void>{};
}

}  // namespace millrace::workers::runtime
