#pragma once
// How an attempt ends: the outcome becomes one fenced transaction, a retry row, or a dead letter,
// and followers are woken.

#include <random>

#include "shared/async/batcher.hpp"
#include "shared/async/one_shot.hpp"
#include "shared/domain/jobs/lifecycle.hpp"
#include "shared/domain/jobs/publish.hpp"
#include "shared/redis/redis.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::runtime {

enum class Settled : std::uint8_t { committed, fenced, retried, dead };
[[nodiscard]] std::string_view to_string(Settled settled) noexcept;

class Settler {
 public:
    struct Ports {
        postgres::Database& app;  ///< millrace_app
        domain::jobs::Lifecycle& lifecycle;
        domain::jobs::Publisher& publisher;
        kafka::Producer& producer;
        redis::Client& redis;
        const events::Catalog& catalog;
    };

    Settler(async::TaskGroup& tasks, Ports ports, std::string worker_name);

    /// Returns once it stands in the database; tries until it does, or until the attempt no longer
    /// owns the job. `job` outlives the call.
    Task<Settled> settle(const Job& job, Result<Outcome> outcome);
    /// A record that is no runnable job.
    Task<void> bury_record(domain::jobs::DeadLetter letter, kafka::OutRecord record);

 private:
    struct Item {
        domain::jobs::Completion completion;
        async::OneShot<Result<bool>> done;
    };

    Task<void> flush(std::vector<Item> items);
    Task<Result<Settled>> commit(const Job& job, const Outcome& outcome);
    Task<Result<Settled>> give_up_or_wait(const Job& job, const Error& error);
    Task<Result<Settled>> once(const Job& job, const Result<Outcome>& outcome);
    void announce(std::optional<base::Uuid> outbox);
    /// Wakes who waits for it, and the next job of its key, by its outbox row.
    void announce_end(base::JobId id, std::optional<base::Uuid> next);
    void announce_ends(std::span<const base::Uuid> ids);

    Ports ports_;
    std::string worker_name_;
    std::minstd_rand jitter_;
    async::Batcher<Item> completions_;
};

}  // namespace millrace::workers::runtime
