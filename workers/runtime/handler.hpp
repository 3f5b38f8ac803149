#pragma once
// What a worker's author writes against: a handler is a plain function from a job to an outcome. It
// does not write; it returns its effects, result and follow-up jobs as data, and the runtime
// applies them in one fenced transaction (design §1.3).

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shared/domain/jobs/job.hpp"
#include "shared/domain/jobs/live.hpp"
#include "shared/kafka/kafka.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::workers::runtime {

struct Job {
    base::JobId id;
    base::TenantId tenant;
    base::UserId owner;
    const events::Kind* kind = nullptr;
    std::string lane;
    std::string order_key;
    int attempt = 0;
    std::string input;              ///< JSON
    telemetry::TraceContext trace;  ///< of this attempt's span
    base::WallTime accepted_at;
    kafka::Position origin;
    /// Whose id goes into external keys (mail, payments, provider calls): its own, or that of the
    /// job that an operator has it repeat, so that nothing is mailed or charged again.
    base::JobId origin_id;
    /// Runs for comparison only: the runtime drops its effects and follow-ups. Stage nothing, and
    /// call nothing that acts outside; models may be asked.
    bool shadow = false;
};

struct Outcome {
    domain::jobs::Status status =
        domain::jobs::Status::succeeded;  ///< or failed: the input can never work
    std::string result;                   ///< JSON
    std::vector<postgres::Call> effects;  ///< as millrace_app, tenant set, after the fence
    std::vector<domain::jobs::NewJob> follow_ups;
    /// Effects too, after the others: each returns one outbox row, whose jobs it has released, or
    /// null.
    std::vector<postgres::Call> releases;
    std::chrono::seconds commit_timeout{5};  ///< of the transaction that all of these are
};

[[nodiscard]] Outcome succeed(std::string result, std::vector<postgres::Call> effects = {});
/// `code` and `message` are what the client reads: {"error":{"code","message"}}.
[[nodiscard]] Outcome fail_for_good(std::string_view code, std::string_view message,
                                    std::vector<postgres::Call> effects = {});
/// The same from an error, whose reason is the code; one with a `retry_after` tells the client that
/// too.
[[nodiscard]] Outcome fail_for_good(const Error& error, std::vector<postgres::Call> effects = {});

/// One model, speech or embedding call: money spent, whatever becomes of the attempt.
struct Spend {
    int call = 0;  ///< counts the calls of this attempt
    std::string purpose, provider, model, outcome;
    std::int64_t tokens_in = 0, tokens_out = 0;
    std::chrono::milliseconds latency{};
};

/// The runtime's side of one attempt.
class Attempt {
 public:
    virtual ~Attempt() = default;
    /// What followers see while it runs.
    virtual domain::jobs::LiveWriter& live() = 0;
    /// The attempt is cancelled at this time; pass the rest of it to every call.
    [[nodiscard]] virtual Deadline deadline() const = 0;
    /// Before a call that costs money: sets aside what it costs at most. `rate_limited` with reason
    /// BUDGET_EXCEEDED when the tenant's budget does not hold it. Nothing is asked where the model
    /// has no price.
    virtual Task<Result<void>> reserve(int call, std::string_view model, std::int64_t tokens_in,
                                       std::int64_t tokens_out) = 0;
    /// Recorded at once, in a transaction of its own, once per (job, attempt, call); takes the
    /// place of what was reserved for the call.
    virtual Task<Result<void>> spend(Spend spend) = 0;
    [[nodiscard]] virtual Executor executor() const = 0;
};

/// An Error is a transient failure when its code says so (rate_limited, timeout, unavailable,
/// internal): the kind's retry schedule decides. Any other code means that the input can never
/// work: the job fails with the error's detail. When the client cancels, or the kind's timeout
/// passes, the task is cancelled at its next suspension.
using Handler = std::function<Task<Result<Outcome>>(Job, Attempt&)>;

template <class Work, class Ports>
Task<Result<Outcome>> work_once(std::shared_ptr<Ports> ports, Job job, Attempt& attempt) {
    Work work(*ports, std::move(job), attempt);
    co_return co_await work.run();
}
/// A handler whose every attempt is an object of its own: Work(ports, job, attempt).run().
/// References in `ports` outlive the handler.
template <class Work, class Ports>
[[nodiscard]] Handler handler_of(Ports ports) {
    return [shared = std::make_shared<Ports>(std::move(ports))](Job job, Attempt& attempt) {
        return work_once<Work>(shared, std::move(job), attempt);
    };
}

}  // namespace millrace::workers::runtime
