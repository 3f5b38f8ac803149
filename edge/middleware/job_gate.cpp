#include "edge/middleware/job_gate.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::edge::middleware {

namespace jobs = domain::jobs;

namespace {
constexpr std::size_t k_key_bytes_max = 255;
constexpr std::int64_t k_retry_after_max = 366LL * 24 * 3600;
constexpr auto k_redis_timeout = std::chrono::milliseconds(250);
constexpr auto k_cancel_timeout = std::chrono::seconds(3);

std::string follow_key(base::JobId id) {
    return "millrace:followed:" + id.str();
}
}  // namespace

Result<std::optional<jobs::IdempotencyKey>> idempotency_key(const Exchange& exchange,
                                                            std::string_view canonical_body) {
    auto key = exchange.request.header("idempotency-key");
    if (key.empty() || !exchange.principal) return std::nullopt;
    // A Structured Field string, or the bare value that most clients send.
    if (key.size() >= 2 && key.front() == '"' && key.back() == '"')
        key = key.substr(1, key.size() - 2);
    const bool printable =
        std::ranges::all_of(key, [](unsigned char c) { return c > 0x20 && c < 0x7F && c != '"'; });
    if (key.empty() || key.size() > k_key_bytes_max || !printable) {
        return fail(ErrorCode::invalid,
                    "Idempotency-Key: must be 1 to 255 visible ASCII characters",
                    {.field = "Idempotency-Key"});
    }
    // A widget's visitors share one principal, but not their keys.
    const auto scope = fmt::format(
        "{}{}\n{}\n{}\n{}", exchange.principal->user.str(),
        exchange.principal->role == "WIDGET" ? " " + exchange.client_address : std::string(),
        server::to_string(exchange.request.method), exchange.endpoint->pattern, key);
    return jobs::IdempotencyKey{base::sha256(scope), base::sha256(canonical_body)};
}

Error job_error(const jobs::View& job) {
    Error error{.code = ErrorCode::internal,
                .detail = "the job did not succeed",
                .log = {},
                .field = {},
                .reason = {}};
    if (job.status == jobs::Status::cancelled) {
        error.code = ErrorCode::cancelled;
        error.detail = "the job was cancelled";
        error.reason = "CANCELLED";
        return error;
    }
    if (job.status == jobs::Status::dead) {
        error.code = ErrorCode::unavailable;
        error.detail = "the request could not be processed; please try again later";
        error.log = "the job ended as dead";
        return error;
    }
    error.code = ErrorCode::invalid;
    const auto document = json::parse(job.result.value_or("{}"));
    if (!document) return error;
    auto root = document->reader();
    if (auto in = root.optional_object("error")) {
        error.detail = in->optional_string("message").value_or(error.detail);
        error.reason = in->optional_string("code").value_or("");
        error.field = in->optional_string("field").value_or("");
        if (const auto after = in->optional_integer("retry_after", 0, k_retry_after_max)) {
            error.code = ErrorCode::rate_limited;
            error.retry_after = std::chrono::seconds(*after);
        }
    }
    return error;
}

JobGate::JobGate(async::TaskGroup& tasks, jobs::Acceptor& acceptor, jobs::Publisher& publisher,
                 jobs::Reader& reader, JobWatch& watch, redis::Client& redis,
                 const events::Catalog& catalog, Options options)
    : tasks_(tasks),
      acceptor_(acceptor),
      publisher_(publisher),
      reader_(reader),
      watch_(watch),
      redis_(redis),
      catalog_(catalog),
      options_(std::move(options)) {}

Task<Result<jobs::Accepted>> JobGate::accept(Exchange& exchange, jobs::NewJob job,
                                             std::string_view canonical_body) {
    CO_TRY(auto key, idempotency_key(exchange, canonical_body));
    job.trace = exchange.trace;
    co_return co_await acceptor_.accept(std::move(job), key, exchange.deadline);
}

Task<Result<server::Response>> JobGate::hold(Exchange& exchange, jobs::Accepted accepted,
                                             RenderResult render) {
    const auto prefer = parse_prefer(exchange.request.header("prefer"));
    if (draining_ || (prefer.respond_async && !prefer.wait)) {
        co_return accepted_response(accepted, jobs::Status::queued, prefer);
    }
    CO_TRY(auto waited, co_await wait(exchange, accepted.id, prefer.wait.value_or(options_.hold),
                                      !accepted.attached));
    const auto* job = &waited.job;
    if (!jobs::is_final(job->status)) {
        if (waited.client_gone) abandon(*job);
        co_return accepted_response(accepted, job->status, prefer);
    }
    if (job->status != jobs::Status::succeeded) co_return std::unexpected(job_error(*job));
    auto response = render(*job);
    if (prefer.wait)
        response.headers.emplace_back("Preference-Applied",
                                      fmt::format("wait={}", prefer.wait->count()));
    co_return response;
}

Task<Result<JobGate::Waited>> JobGate::wait(Exchange& exchange, base::JobId id,
                                            std::chrono::seconds span, bool just_accepted) {
    exchange.place.release();
    async::Event wake(tasks_.executor());
    struct Holding {
        JobGate& gate;
        async::Event* event;
        server::Request::ClientWatch* client;
        bool gone = false;
        Holding(JobGate& g, async::Event* e, server::Request::ClientWatch* c)
            : gate(g), event(e), client(c) {
            gate.holding_.push_back(event);
            if (client) client->on_gone([this] { gone = true, event->set(); });
        }
        Holding(const Holding&) = delete;
        Holding& operator=(const Holding&) = delete;
        ~Holding() {
            if (client) client->on_gone(nullptr);
            std::erase(gate.holding_, event);
        }
    };
    const Holding holding(*this, &wake, exchange.request.client);
    if (draining_) span = std::chrono::seconds(0);
    CO_TRY(auto job, co_await watch_.wait_final(
                         id, wake, Deadline::in(std::min(span, options_.wait_max)), just_accepted));
    co_return Waited{std::move(job), holding.gone};
}

void JobGate::drain() {
    draining_ = true;
    for (auto* event : holding_) event->set();
}

server::Response JobGate::accepted_response(const jobs::Accepted& accepted, jobs::Status status,
                                            const Preference& prefer) const {
    auto url = status_url(accepted.id);
    auto response = json_response(
        202, fmt::format(R"({{"job_id":"{}","status":"{}","status_url":"{}","events_url":"{}"}})",
                         accepted.id.str(), jobs::to_string(status), url, events_url(accepted.id)));
    response.headers.emplace_back("Location", std::move(url));
    if (prefer.respond_async) response.headers.emplace_back("Preference-Applied", "respond-async");
    return response;
}

std::string JobGate::token_of(base::JobId id) const {
    const auto mac = base::hmac_sha256(options_.token_key, "events:" + id.str());
    return base::base64url(base::view(mac).substr(0, 24));
}

std::string JobGate::events_url(base::JobId id) const {
    return status_url(id) + "/events?token=" + token_of(id);
}

bool JobGate::token_opens(std::string_view token, base::JobId id) const {
    return base::equal_constant_time(token, token_of(id));
}

bool JobGate::is_discardable(const jobs::View& job) const {
    const auto* kind = catalog_.kind(job.kind);
    return kind && kind->discard_idle;
}

void JobGate::followed(const jobs::View& job) {
    if (!is_discardable(job)) return;  // nobody would ask
    redis_.post(
        {"SET", follow_key(job.id), "1", "EX", std::to_string(options_.idle_cancel.count())});
}

void JobGate::abandon(const jobs::View& job) {
    if (is_discardable(job)) tasks_.spawn("abandoned job", cancel_if_idle(job.id));
}

Task<void> JobGate::cancel_if_idle(base::JobId id) {
    co_await async::delay(tasks_.executor(), options_.idle_cancel);
    redis::Args args{"EXISTS", follow_key(id)};
    const auto somebody = co_await redis_.command(std::move(args), Deadline::in(k_redis_timeout));
    if (!somebody || somebody->integer() != 0) co_return;  // unknown counts as followed
    const auto before = co_await cancel(id, Deadline::in(k_cancel_timeout));
    if (before && *before && !jobs::is_final(**before)) {
        telemetry::log::info("nobody waits for this job any more", {{"job_id", id.str()}});
    }
}

Task<Result<std::optional<jobs::Status>>> JobGate::cancel(base::JobId id, Deadline deadline) {
    CO_TRY(const auto cancelled, co_await reader_.cancel(id, deadline));
    const auto before = cancelled.before;
    if (before && !jobs::is_final(*before)) {
        const auto channel =
            *before == jobs::Status::running ? jobs::k_cancel_channel : jobs::k_done_channel;
        redis_.post({"PUBLISH", std::string(channel),
                     std::string(reinterpret_cast<const char*>(id.uuid.bytes.data()),
                                 id.uuid.bytes.size())});
    }
    if (cancelled.announced) publisher_.announce({&*cancelled.announced, 1});
    co_return before;
}

}  // namespace millrace::edge::middleware
