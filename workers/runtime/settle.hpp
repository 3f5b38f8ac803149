#pragma once
// How an attempt ends: the outcome becomes one fenced transaction, a retry row, or a dead letter,
// and followers are woken.

#include <random>

#include "shared/async/batcher.hpp"
#include "shared/async/one_shot.hpp"
#include "shared/domain/jobs/lifecycle.hpp"
#include "shared/domain/jobs/publish.hpp"
#include "shared/domain/jobs/recovery.hpp"
#include "shared/redis/redis.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::runtime {

enum class Settled : std::uint8_t { committed, fenced, retried, dead };
[[nodiscard]] std::string_view to_string(Settled settled) noexcept;

class Settler {
 public:
    struct Ports {
        postgres::Database& app;     ///< millrace_app
        postgres::Database& claims;  ///< millrace_pipeline
        domain::jobs::Lifecycle& lifecycle;
        domain::jobs::Publisher& publisher;
        kafka::Producer& producer;
        redis::Client& redis;
        const events::Catalog& catalog;
    };

    Settler(async::TaskGroup& tasks, Ports ports, std::string worker_name);

    /// Returns once it stands in the database; tries until it does, or until the attempt no longer
    /// owns the job.
    Task<Settled> settle(Job job, Result<Outcome> outcome);
    /// A record that is no runnable job.
    Task<void> bury_record(domain::jobs::DeadLetter letter, kafka::OutRecord record);

 private:
    struct Item {
        domain::jobs::Completion completion;
        async::OneShot<Result<bool>> done;
    };

    Task<void> flush(std::vector<Item> items);
    Task<void> publish_woken(std::vector<base::Uuid> outbox);
    Task<Result<Settled>> commit(const Job& job, const Outcome& outcome);
    Task<Result<Settled>> give_up_or_wait(const Job& job, const Error& error);
    Task<Result<Settled>> once(const Job& job, const Result<Outcome>& outcome);
    void announce_end(const std::vector<base::Uuid>& ids);

    Ports ports_;
    std::string worker_name_;
    std::minstd_rand jitter_;
    domain::jobs::Recovery recovery_;
    async::Batcher<Item> completions_;
    async::Batcher<base::Uuid> woken_;  ///< announcements of the next jobs of order keys
};

}  // namespace millrace::workers::runtime
