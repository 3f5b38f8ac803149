#pragma once
// One attempt while it runs.

#include <set>

#include "shared/domain/jobs/replay.hpp"
#include "workers/runtime/worker.hpp"

namespace millrace::workers::runtime {

/// Why an attempt was asked to stop; `lost`: its claim does not stand in the database any more.
enum class Stop : std::uint8_t { none, client, timeout, shutdown, lost };

class Worker::Running final : public Attempt {
 public:
    Running(Worker& worker, Job job, bool alone);

    domain::jobs::LiveWriter& live() override {
        if (!live_) live_.emplace(worker_.ports_.settle.redis, job.id, job.attempt);
        return *live_;
    }
    [[nodiscard]] Deadline deadline() const override { return deadline_; }
    Task<Result<void>> reserve(int call, std::string_view model, std::int64_t tokens_in,
                               std::int64_t tokens_out) override;
    Task<Result<void>> spend(Spend spend) override;
    [[nodiscard]] Executor executor() const override { return worker_.executor_; }

    Job job;
    bool alone;
    std::optional<domain::jobs::Repeated> repeated;  ///< in the replay lane: what it repeats
    Stop stop = Stop::none;
    bool handling = false;  ///< the handler runs, the outcome is not known yet
    async::TaskGroup::Id task = 0;
    base::SteadyTime started = std::chrono::steady_clock::now();

 private:
    Worker& worker_;
    Deadline deadline_;
    std::optional<domain::jobs::LiveWriter> live_;  ///< most attempts say nothing
    std::set<int> reserved_;                        ///< calls that money is set aside for
};

}  // namespace millrace::workers::runtime
