// Running attempts: start, watch, cancel, settle.

#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>

#include "shared/telemetry/log.hpp"
#include "workers/runtime/running.hpp"

namespace millrace::workers::runtime {

namespace jobs = domain::jobs;

namespace {
const postgres::Statement k_spend{"usage_record", R"sql(
SELECT record_usage($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::float8::numeric, $11, $12, $13, $14))sql"};
constexpr auto k_spend_timeout = std::chrono::seconds(3);
constexpr auto k_alone_timeout = std::chrono::seconds(2);
constexpr auto k_tick = std::chrono::milliseconds(100);
constexpr int k_ticks_per_cancel_check = 20;
}  // namespace

Worker::Running::Running(Worker& worker, Job j, bool is_alone)
    : job(std::move(j)),
      alone(is_alone),
      worker_(worker),
      deadline_(Deadline::in(job.kind->timeout)) {}

Task<Result<void>> Worker::Running::reserve(int call, std::string_view model,
                                            std::int64_t tokens_in, std::int64_t tokens_out) {
    const auto& prices = worker_.ports_.prices;
    if (!prices.knows(model) && worker_.unpriced_.emplace(model).second)
        telemetry::log::warning("a model without a price", {{"model", std::string(model)}});
    const auto usd = prices.cost(model, tokens_in, tokens_out);
    if (usd <= 0) co_return Result<void>{};
    CO_TRY_VOID(co_await worker_.budgets_.reserve(job.tenant, {job.id, job.attempt, call}, usd,
                                                  Deadline::in(k_spend_timeout)));
    reserved_.insert(call);
    co_return Result<void>{};
}

/// The job's end makes it durable. Should the server crash before, then the call stays reserved, as
/// if this worker had died after it.
Task<Result<void>> Worker::Running::spend(Spend spend) {
    const auto cost = worker_.ports_.prices.cost(spend.model, spend.tokens_in, spend.tokens_out);
    CO_TRY_VOID(co_await postgres::in_tenant(
        worker_.ports_.settle.app, job.tenant,
        postgres::call(k_spend, job.id, job.attempt, spend.call, job.tenant, spend.purpose,
                       spend.provider, spend.model, spend.tokens_in, spend.tokens_out, cost,
                       static_cast<std::int32_t>(spend.latency.count()), spend.outcome, job.shadow,
                       reserved_.contains(spend.call)),
        Deadline::in(k_spend_timeout), postgres::Commit::asynchronous));
    reserved_.erase(spend.call);
    co_return Result<void>{};
}

void Worker::start_next() {
    while (!draining_ && !alone_ && handling_ < options_.concurrency) {
        std::optional<Queued> next;
        if (!suspects_.empty()) {
            if (!running_.empty()) return;  // let the others finish first
            next = std::move(suspects_.front());
            suspects_.pop_front();
            alone_ = true;
        } else {
            next = queue_.pop();
        }
        if (!next) return;
        auto running = std::make_shared<Running>(*this, std::move(next->job), next->alone);
        running_.emplace(running->job.id.uuid, running);
        ++handling_;
        running->task = attempts_.spawn(running->job.kind->name, run_attempt(running));
    }
}

Task<void> Worker::run_attempt(std::shared_ptr<Running> running) {
    auto span = ports_.tracer.start("job " + running->job.kind->name, running->job.trace);
    span.set("job.id", running->job.id.str());
    span.set("job.attempt", std::int64_t{running->job.attempt});
    running->job.trace = span.context();
    if (running->alone && !co_await mark_alone(running->job.id)) {
        --handling_;
        finished(*running, Settled::fenced);
        co_return;
    }
    running->handling = true;
    auto outcome = co_await call_handler(running);
    running->handling = false;
    // Its place is free: how many outcomes wait for their commit is bounded by what is claimed.
    --handling_;
    start_next();
    // Whatever stopped the handler must not stop the writing down of its outcome.
    co_await asio::this_coro::reset_cancellation_state();
    if (outcome && running->job.shadow) {
        outcome->effects = {jobs::keep_beside(*running->repeated, running->job.tenant,
                                              outcome->status, outcome->result)};
        outcome->follow_ups.clear();
        outcome->releases.clear();
    }
    if (running->stop == Stop::shutdown) {
        finished(*running, Settled::fenced);  // leave() gives it back
        co_return;
    }
    if (!outcome)
        span.fail(outcome.error().log.empty() ? outcome.error().detail : outcome.error().log);
    auto settled = Settled::fenced;
    if (running->stop != Stop::lost)
        settled = co_await settler_.settle(running->job, std::move(outcome));
    if (running->alone) {
        (void)co_await lifecycle_.run_alone(membership_.epoch(), std::nullopt,
                                            Deadline::in(k_alone_timeout));
    }
    finished(*running, settled);
}

/// False when this process has been written off.
Task<bool> Worker::mark_alone(base::JobId id) {
    for (;;) {
        const auto marked =
            co_await lifecycle_.run_alone(membership_.epoch(), id, Deadline::in(k_alone_timeout));
        if (marked) co_return true;
        if (marked.error().code == ErrorCode::not_found) co_return false;
        co_await async::delay(executor_, k_tick);
    }
}

Task<Result<Outcome>> Worker::call_handler(std::shared_ptr<Running> running) {
    std::string died;
    try {
        if (running->job.input.empty()) {  // it was too large for the record
            CO_TRY(running->job.input,
                   co_await lifecycle_.input(running->job.id.uuid, running->deadline()));
        }
        CO_TRY_VOID(co_await find_repeated(*running));
        auto& handler = handlers_.find(running->job.kind->name)->second;
        auto outcome = co_await handler(running->job, *running);
        if (running->stop == Stop::none) co_return outcome;
    } catch (const boost::system::system_error& e) {
        if (e.code() != asio::error::operation_aborted) died = e.what();
    } catch (const std::exception& e) {
        died = e.what();
    }
    switch (running->stop) {
        case Stop::client:
            co_return fail(ErrorCode::cancelled, "the job was cancelled");
        case Stop::timeout:
            co_return fail(ErrorCode::timeout, "the job took too long",
                           {.log = fmt::format("the attempt passed its {} ms",
                                               running->job.kind->timeout.count())});
        case Stop::shutdown:
            co_return fail(ErrorCode::unavailable, "the worker was asked to stop");
        case Stop::lost:
            co_return fail(ErrorCode::unavailable, "the claim was lost");
        case Stop::none:
            break;
    }
    co_return fail(ErrorCode::internal, "the job could not be processed",
                   {.log = "the handler threw: " + died});
}

/// Only what operators replay comes through the replay lane: other jobs are not looked up.
Task<Result<void>> Worker::find_repeated(Running& running) {
    auto& job = running.job;
    if (job.lane != jobs::k_replay_lane) co_return Result<void>{};
    CO_TRY(running.repeated,
           co_await jobs::find_repeated(ports_.claims, job.id, running.deadline()));
    if (!running.repeated) co_return Result<void>{};  // the same job once more
    job.origin_id = running.repeated->origin;
    job.shadow = running.repeated->shadow;
    job.order_key = running.repeated->order_key;
    co_return Result<void>{};
}

void Worker::finished(const Running& running, Settled settled) {
    const auto seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - running.started).count();
    switch (settled) {
        case Settled::committed:
            finished_total_.add();
            break;
        case Settled::fenced:
            fenced_total_.add();
            break;
        case Settled::retried:
            retried_total_.add();
            break;
        case Settled::dead:
            dead_total_.add();
            break;
    }
    seconds_.observe(seconds);
    if (running.stop != Stop::shutdown) {
        telemetry::log::info("attempt ended", {{"job_id", running.job.id.str()},
                                               {"kind", running.job.kind->name},
                                               {"attempt", std::int64_t{running.job.attempt}},
                                               {"settled", to_string(settled)},
                                               {"seconds", seconds},
                                               {"trace_id", running.job.trace.trace_id_hex()}});
    }
    if (running.alone) alone_ = false;
    const auto id = running.job.id.uuid;
    if (running.stop != Stop::shutdown) claimed_.erase(id);
    running_.erase(id);  // destroys `running` unless the attempt's task still holds it
    running_gauge_.set(static_cast<double>(running_.size()));
    room_.notify_all();
    start_next();
}

Task<void> Worker::watch() {
    for (int tick = 0;; ++tick) {
        co_await async::delay(executor_, k_tick);
        std::vector<async::TaskGroup::Id> late;
        stuck_ = false;
        for (auto& [id, running] : running_) {
            if (!running->handling || !running->deadline().passed()) continue;
            if (running->stop == Stop::none) {
                running->stop = Stop::timeout;
                late.push_back(running->task);
            }
            stuck_ |= std::chrono::steady_clock::now() >
                      running->deadline().when() + options_.cancel_grace;
        }
        for (const auto task : late) attempts_.cancel(task);
        if (tick % k_ticks_per_cancel_check == 0 && !running_.empty()) co_await stop_attempts();
    }
}

void Worker::stop(const base::Uuid& id, Stop why) {
    const auto found = running_.find(id);
    if (found == running_.end() || !found->second->handling || found->second->stop != Stop::none)
        return;
    found->second->stop = why;
    attempts_.cancel(found->second->task);
}

/// The nudge through Redis may be lost; this is what the rows say. An attempt whose claim was lost
/// ends here, before somebody else claims its job under the same number.
Task<void> Worker::stop_attempts() {
    std::vector<base::Uuid> ids;
    std::vector<std::int32_t> attempts;
    for (const auto& [id, running] : running_) {
        ids.push_back(id);
        attempts.push_back(running->job.attempt);
    }
    const auto found =
        co_await lifecycle_.to_stop(membership_.epoch(), std::move(ids), std::move(attempts),
                                    Deadline::in(std::chrono::seconds(2)));
    if (!found) co_return;
    for (const auto& one : *found) {
        const auto held = running_.find(one.id);
        if (held == running_.end() || held->second->job.attempt != one.attempt) continue;
        stop(one.id, one.owned ? Stop::client : Stop::lost);
    }
}

}  // namespace millrace::workers::runtime
