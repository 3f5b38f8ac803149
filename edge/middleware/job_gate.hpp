#pragma once
// What every job-backed endpoint shares: accept under an idempotency key, then hold the request
// open or answer 202 (design §4).

#include "edge/middleware/exchange.hpp"
#include "edge/middleware/job_watch.hpp"
#include "shared/domain/jobs/accept.hpp"

namespace millrace::edge::middleware {

/// Renders a succeeded job's result as the contract's answer.
using RenderResult = std::function<server::Response(const domain::jobs::View& job)>;

class JobGate {
 public:
    struct Options {
        std::chrono::seconds hold{30};      ///< how long a contract's 200 may be waited for
        std::chrono::seconds wait_max{60};  ///< upper bound of Prefer: wait
        std::chrono::seconds idle_cancel{30};
        std::string base_path;  ///< prefix of the URLs handed out; empty: relative to the host
        std::string token_key;  ///< for event tokens
    };

    JobGate(async::TaskGroup& tasks, domain::jobs::Acceptor& acceptor,
            domain::jobs::Publisher& publisher, domain::jobs::Reader& reader, JobWatch& watch,
            redis::Client& redis, const events::Catalog& catalog, Options options);

    /// Accepts `job`; the Idempotency-Key header's scope is (principal, method, route), its body
    /// hash is of `canonical_body`.
    Task<Result<domain::jobs::Accepted>> accept(Exchange& exchange, domain::jobs::NewJob job,
                                                std::string_view canonical_body);

    /// Waits as the client prefers, then answers: `render` for a success, the job's own error for a
    /// failure, or 202.
    Task<Result<server::Response>> hold(Exchange& exchange, domain::jobs::Accepted accepted,
                                        RenderResult render);

    /// 202 + Location + Preference-Applied.
    [[nodiscard]] server::Response accepted_response(const domain::jobs::Accepted& accepted,
                                                     domain::jobs::Status status,
                                                     const Preference& prefer) const;

    [[nodiscard]] std::string status_url(base::JobId id) const {
        return options_.base_path + "/api/jobs/" + id.str();
    }
    [[nodiscard]] std::string events_url(base::JobId id) const;
    [[nodiscard]] bool token_opens(std::string_view token, base::JobId id) const;
    [[nodiscard]] const Options& options() const noexcept { return options_; }

    /// Waits for the end of an existing job: until `span` has passed, the client has gone, or this
    /// process drains. `just_accepted` as JobWatch::wait_final has it.
    struct Waited {
        domain::jobs::View job;
        bool client_gone = false;
    };
    Task<Result<Waited>> wait(Exchange& exchange, base::JobId id, std::chrono::seconds span,
                              bool just_accepted);

    /// From now on nothing is held: clients get 202 and ask the next process.
    void drain();

    /// Cancels a discardable job whose client has gone, unless somebody follows it within the idle
    /// time.
    void abandon(const domain::jobs::View& job);
    /// Somebody follows: remembered in Redis for the idle time, so that every edge knows.
    void followed(const domain::jobs::View& job);

    /// Asks a running job to stop, or ends one that has not started. The status it had.
    Task<Result<std::optional<domain::jobs::Status>>> cancel(base::JobId id, Deadline deadline);

 private:
    [[nodiscard]] std::string token_of(base::JobId id) const;
    [[nodiscard]] bool is_discardable(const domain::jobs::View& job) const;
    Task<void> cancel_if_idle(base::JobId id);

    async::TaskGroup& tasks_;
    domain::jobs::Acceptor& acceptor_;
    domain::jobs::Publisher& publisher_;
    domain::jobs::Reader& reader_;
    JobWatch& watch_;
    redis::Client& redis_;
    const events::Catalog& catalog_;
    Options options_;
    bool draining_ = false;
    std::vector<async::Event*> holding_;
};

/// The error of a job that did not succeed, as the surface is to render it.
[[nodiscard]] Error job_error(const domain::jobs::View& job);

/// The principal's idempotency scope and the body's hash; nullopt without the header; `invalid`
/// when the header is malformed.
[[nodiscard]] Result<std::optional<domain::jobs::IdempotencyKey>> idempotency_key(
    const Exchange& exchange, std::string_view canonical_body);

}  // namespace millrace::edge::middleware
