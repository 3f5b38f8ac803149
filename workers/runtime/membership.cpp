#include "workers/runtime/membership.hpp"

#include <boost/asio/this_coro.hpp>

#include "shared/telemetry/log.hpp"

namespace millrace::workers::runtime {

Membership::Membership(postgres::Database& durable, domain::jobs::Lifecycle& lifecycle,
                       Options options)
    : durable_(durable), lifecycle_(lifecycle), options_(std::move(options)) {}

Task<Result<void>> Membership::join(Deadline deadline) {
    CO_TRY(epoch_, co_await lifecycle_.next_epoch(deadline));
    CO_TRY(lock_, co_await durable_.try_lock(domain::jobs::worker_lock_key(epoch_), deadline));
    if (!lock_) co_return fail(ErrorCode::internal, "the lock of a new epoch is taken");
    co_return co_await lifecycle_.register_worker(epoch_, options_.name, options_.role,
                                                  options_.lease, deadline);
}

Task<void> Membership::keep(std::function<Report()> report) {
    const auto executor = co_await asio::this_coro::executor;
    auto progressed = std::chrono::steady_clock::now();
    for (;;) {
        co_await async::delay(executor, options_.renew_every);
        if (!lock_ || !lock_->held()) co_await retake_lock();
        auto now =
            report();  // nothing is awaited between the report and its renewal: it must not age
        if (!now.progress) {
            telemetry::log::error("no progress: the lease is not renewed",
                                  {{"worker", options_.name}});
            if (std::chrono::steady_clock::now() - progressed > options_.lease) co_return;
            continue;
        }
        progressed = std::chrono::steady_clock::now();
        const auto renewed =
            co_await lifecycle_.renew(epoch_, std::move(now.in_flight), std::move(now.consumed),
                                      options_.lease, Deadline::in(options_.renew_every));
        if (!renewed && renewed.error().code == ErrorCode::not_found) co_return;
        if (!renewed)
            telemetry::log::warning("the lease could not be renewed",
                                    {{"cause", renewed.error().log}});
    }
}

Task<void> Membership::retake_lock() {
    lock_.reset();
    auto lock = co_await durable_.try_lock(domain::jobs::worker_lock_key(epoch_),
                                           Deadline::in(options_.renew_every));
    if (lock) lock_ = std::move(*lock);
}

Task<std::vector<base::Uuid>> Membership::leave(Deadline deadline) {
    auto left = co_await lifecycle_.leave(epoch_, deadline);
    if (!left)
        telemetry::log::warning("could not sign off: the scheduler will notice",
                                {{"cause", left.error().log}});
    lock_.reset();
    co_return left ? std::move(*left) : std::vector<base::Uuid>{};
}

}  // namespace millrace::workers::runtime
