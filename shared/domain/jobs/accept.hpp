#pragma once
// Accepting jobs: one transaction for a natural batch holds the jobs, their idempotency keys and
// the outbox row.

#include <optional>
#include <string>
#include <vector>

#include "shared/async/batcher.hpp"
#include "shared/async/one_shot.hpp"
#include "shared/base/crypto.hpp"
#include "shared/domain/jobs/publish.hpp"

namespace millrace::domain::jobs {

/// SHA-256 of (principal, method, route, key) and of the canonical body.
struct IdempotencyKey {
    base::Digest scope;
    base::Digest body;
};

/// What a key says that was used before: with another request, or by one that still runs.
[[nodiscard]] Error key_mismatch();
[[nodiscard]] Error key_in_progress();

struct Accepted {
    JobId id;
    bool attached =
        false;  ///< the key was known with the same body: this is the first request's job
};

class Acceptor {
 public:
    /// `durable` commits synchronously. All references outlive the acceptor.
    Acceptor(async::TaskGroup& tasks, postgres::Database& durable, Publisher& publisher);

    /// Returns after the commit. `conflict` with reason IDEMPOTENCY_MISMATCH: the key was used with
    /// another body; `unavailable`: the database is away or the queue is full, and nothing was
    /// promised.
    Task<Result<Accepted>> accept(NewJob job, std::optional<IdempotencyKey> key, Deadline deadline);

    struct Stats {
        std::uint64_t accepted = 0, attached = 0, batches = 0, failed = 0;
    };
    [[nodiscard]] const Stats& stats() const noexcept { return stats_; }
    [[nodiscard]] std::size_t waiting() const noexcept { return batcher_.waiting(); }

 private:
    struct Item {
        NewJob job;
        std::optional<IdempotencyKey> key;
        Deadline deadline;
        async::OneShot<Result<Accepted>> done;
    };

    Task<void> flush(std::vector<Item> items);
    Task<Result<void>> insert(std::vector<Item>& items, const base::Uuid& outbox,
                              std::vector<bool>& inserted, Deadline deadline);
    Task<Result<void>> resolve_keys(std::vector<Item>& items, const std::vector<bool>& inserted,
                                    std::vector<Result<Accepted>>& answers, Deadline deadline);
    Task<void> flush_batch(std::vector<Item> items);

    Executor executor_;
    postgres::Database& durable_;
    Publisher& publisher_;
    Stats stats_;
    async::Batcher<Item> batcher_;
};

}  // namespace millrace::domain::jobs
