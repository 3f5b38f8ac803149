#pragma once
// This process among the workers: its epoch, the session lock that proves it lives, and the lease
// that proves it moves.

#include <functional>

#include "shared/async/task_group.hpp"
#include "shared/domain/jobs/lifecycle.hpp"

namespace millrace::workers::runtime {

class Membership {
 public:
    struct Options {
        std::string name;  ///< "rag-1"
        std::string role;  ///< "rag"
        std::chrono::seconds lease{10};
        std::chrono::milliseconds renew_every{2000};
    };
    /// What a renewal writes down, and whether this process still makes progress: without it the
    /// lease is not renewed.
    struct Report {
        std::vector<base::Uuid> in_flight;
        std::vector<domain::jobs::Consumed> consumed;
        bool progress = true;
    };

    Membership(postgres::Database& durable, domain::jobs::Lifecycle& lifecycle, Options options);

    /// Takes an epoch and its lock and writes the row.
    Task<Result<void>> join(Deadline deadline);
    /// Renews until cancelled. Returns when the scheduler has written this process off: all it
    /// holds belongs to others then.
    Task<void> keep(std::function<Report()> report);
    /// The outbox rows of what this process still held.
    Task<std::vector<base::Uuid>> leave(Deadline deadline);

    [[nodiscard]] domain::jobs::Epoch epoch() const noexcept { return epoch_; }
    [[nodiscard]] const std::string& name() const noexcept { return options_.name; }

 private:
    Task<void> retake_lock();

    postgres::Database& durable_;
    domain::jobs::Lifecycle& lifecycle_;
    Options options_;
    domain::jobs::Epoch epoch_ = 0;
    std::unique_ptr<postgres::Lock> lock_;
};

}  // namespace millrace::workers::runtime
