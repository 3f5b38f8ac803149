#include "edge/surfaces/jobs/jobs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::jobs {

using domain::jobs::is_final;
using domain::jobs::NewJob;
using domain::jobs::Status;
using domain::jobs::View;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

constexpr auto k_live_timeout = std::chrono::milliseconds(250);
constexpr auto k_token_outlives = std::chrono::hours(1);
constexpr int k_list_default = 50;
constexpr int k_list_max = 200;

struct Enqueue {
    std::string kind, lane, order_key, input;
};

Result<Enqueue> decode_enqueue(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Enqueue out{.kind = in.string("kind", {1, 100}),
                .lane = in.optional_string("lane", {1, 20}).value_or("interactive"),
                .order_key = in.optional_string("order_key", {1, 200}).value_or(""),
                .input = {}};
    if (in.has("input")) (void)in.object("input");  // must be an object
    out.input = in.has("input") ? in.raw("input") : "{}";
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<base::JobId> job_id(const Exchange& exchange) {
    const auto id = base::JobId::parse(exchange.request.params.at(0));
    if (!id) return fail(ErrorCode::not_found, "there is no such job");
    return *id;
}

/// The job of the path, if the caller may see it. What one may not see does not exist.
Task<Result<View>> visible_job(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, job_id(exchange));
    CO_TRY(auto job, co_await ports.reader.find(id, exchange.deadline));
    bool mine = job && exchange.principal && job->owner == exchange.principal->user;
    if (job && !exchange.principal) {
        const auto token = exchange.request.query_param("token").value_or("");
        const bool fresh = !job->finished_at ||
                           std::chrono::system_clock::now() < *job->finished_at + k_token_outlives;
        mine = fresh && ports.gate.token_opens(token, id);
        if (!mine)
            co_return fail(ErrorCode::unauthenticated,
                           "the token of this URL is wrong or has expired");
    }
    if (!mine) co_return fail(ErrorCode::not_found, "there is no such job");
    co_return std::move(*job);
}

Task<Result<Response>> enqueue(Ports ports, Exchange& exchange) {
    CO_TRY(auto wanted, decode_enqueue(exchange.request.body));
    const auto* kind = ports.catalog.kind(wanted.kind);
    const bool open = kind && (kind->open == events::Open::yes ||
                               (kind->open == events::Open::probe && ports.probe));
    if (!open) {
        co_return fail(
            ErrorCode::invalid,
            fmt::format("kind: there is no kind of job named '{}' that clients may enqueue",
                        wanted.kind),
            {.field = "kind"});
    }
    if (wanted.lane == "replay" || !ports.catalog.topic_of(*kind, wanted.lane)) {
        co_return fail(ErrorCode::invalid,
                       "lane: must be 'interactive', or 'bulk' where the kind has it",
                       {.field = "lane"});
    }
    if (kind->ordered == wanted.order_key.empty()) {
        co_return fail(
            ErrorCode::invalid,
            kind->ordered ? "order_key: this kind needs one" : "order_key: this kind has no order",
            {.field = "order_key"});
    }
    const auto& who = exchange.who();
    const auto canonical =
        fmt::format("{}\n{}\n{}\n{}", wanted.kind, wanted.lane, wanted.order_key, wanted.input);
    NewJob job{.tenant = who.tenant,
               .owner = who.user,
               .kind = kind,
               .lane = std::move(wanted.lane),
               .order_key = {},
               .trace = {},
               .input = std::move(wanted.input)};
    if (kind->ordered) job.order_key = who.tenant.str() + ":" + wanted.order_key;
    CO_TRY(const auto accepted, co_await ports.gate.accept(exchange, std::move(job), canonical));
    const auto prefer = middleware::parse_prefer(exchange.request.header("prefer"));
    if (!prefer.wait) co_return ports.gate.accepted_response(accepted, Status::queued, prefer);

    CO_TRY(auto waited,
           co_await ports.gate.wait(exchange, accepted.id, *prefer.wait, !accepted.attached));
    if (!is_final(waited.job.status))
        co_return ports.gate.accepted_response(accepted, waited.job.status, prefer);
    auto response = middleware::json_response(200, job_json(waited.job, std::nullopt, ports.gate));
    response.headers.emplace_back("Preference-Applied",
                                  fmt::format("wait={}", prefer.wait->count()));
    co_return response;
}

Task<Result<Response>> read(Ports ports, Exchange& exchange) {
    CO_TRY(auto job, co_await visible_job(ports, exchange));
    const auto prefer = middleware::parse_prefer(exchange.request.header("prefer"));
    if (prefer.wait && !is_final(job.status)) {
        CO_TRY(auto waited, co_await ports.gate.wait(exchange, job.id, *prefer.wait, false));
        job = std::move(waited.job);
    }
    std::optional<std::string> progress;
    if (job.status == Status::running) {  // Redis away: the state without progress
        auto live = co_await ports.live.progress(job.id, job.attempt,
                                                 exchange.deadline.capped(k_live_timeout));
        if (live) progress = std::move(*live);
    }
    auto body = job_json(job, progress, ports.gate);
    const auto etag = '"' + base::hex(base::sha256(body)).substr(0, 32) + '"';
    auto response = middleware::json_response(200, std::move(body));
    if (exchange.request.header("if-none-match") == etag)
        response = middleware::json_response(304, "");
    response.headers.emplace_back("ETag", etag);
    response.headers.emplace_back("Cache-Control", "private, no-cache");
    if (prefer.wait)
        response.headers.emplace_back("Preference-Applied",
                                      fmt::format("wait={}", prefer.wait->count()));
    co_return response;
}

Task<Result<Response>> list(Ports ports, Exchange& exchange) {
    int limit = k_list_default;
    if (const auto text = exchange.request.query_param("limit")) {
        const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), limit);
        if (ec != std::errc{} || end != text->data() + text->size() || limit < 1 ||
            limit > k_list_max) {
            co_return fail(ErrorCode::invalid,
                           fmt::format("limit: must be an integer between 1 and {}", k_list_max),
                           {.field = "limit"});
        }
    }
    std::optional<base::JobId> before;
    if (const auto text = exchange.request.query_param("before")) {
        before = base::JobId::parse(*text);
        if (!before)
            co_return fail(ErrorCode::invalid, "before: must be the id of a job",
                           {.field = "before"});
    }
    std::optional<Status> status;
    if (const auto text = exchange.request.query_param("status")) {
        for (int s = 0; s <= static_cast<int>(Status::cancelled); ++s) {
            if (domain::jobs::to_string(static_cast<Status>(s)) == *text)
                status = static_cast<Status>(s);
        }
        if (!status)
            co_return fail(ErrorCode::invalid,
                           "status: must be a state of a job, such as 'running'",
                           {.field = "status"});
    }
    CO_TRY(const auto found, co_await ports.reader.list(exchange.who().user, limit, before, status,
                                                        exchange.deadline));
    std::string body = R"({"jobs":[)";
    for (const auto& job : found) {
        if (body.back() != '[') body += ',';
        body += job_json(job, std::nullopt, ports.gate);
    }
    body += "],\"next\":";
    body += found.size() == static_cast<std::size_t>(limit)
                ? fmt::format("\"{}\"", found.back().id.str())
                : "null";
    co_return middleware::json_response(200, body + "}");
}

Task<Result<Response>> cancel(Ports ports, Exchange& exchange) {
    CO_TRY(auto job, co_await visible_job(ports, exchange));
    CO_TRY(const auto before, co_await ports.gate.cancel(job.id, exchange.deadline));
    if (!before) co_return fail(ErrorCode::not_found, "there is no such job");
    if (is_final(*before)) {
        co_return fail(
            ErrorCode::conflict,
            fmt::format("the job has already ended: {}", domain::jobs::to_string(*before)),
            {.reason = "ALREADY_ENDED"});
    }
    const bool requested = *before == Status::running;
    job.status = requested ? Status::running : Status::cancelled;
    job.cancel_requested = requested;
    co_return middleware::json_response(requested ? 202 : 200,
                                        job_json(job, std::nullopt, ports.gate));
}

Task<Result<Response>> events(Ports ports, Exchange& exchange) {
    CO_TRY(auto job, co_await visible_job(ports, exchange));
    auto last = std::string(exchange.request.header("last-event-id"));
    if (last.empty()) last = exchange.request.query_param("last_event_id").value_or("");
    co_return co_await follow(ports, std::move(job), std::move(last));
}

}  // namespace

std::string job_json(const View& job, const std::optional<std::string>& progress,
                     const middleware::JobGate& gate) {
    std::string out = fmt::format(R"({{"job_id":"{}","kind":)", job.id.str());
    json::append_quoted(out, job.kind);
    out += fmt::format(
        R"(,"status":"{}","attempt":{},"cancel_requested":{},"created_at":"{}","finished_at":)",
        domain::jobs::to_string(job.status), job.attempt, job.cancel_requested,
        base::rfc3339_millis(base::uuid_time(job.id.uuid)));
    out += job.finished_at ? fmt::format("\"{}\"", base::rfc3339_millis(*job.finished_at)) : "null";
    out += ",\"progress\":" + progress.value_or("null");
    const bool succeeded = job.status == Status::succeeded;
    out += ",\"result\":" + (succeeded && job.result ? *job.result : std::string("null"));
    out += ",\"error\":";
    if (is_final(job.status) && !succeeded) {
        const auto error = middleware::job_error(job);
        json::Object described{
            {"code",
             error.reason.empty() ? std::string(base::to_string(error.code)) : error.reason},
            {"message", error.detail}};
        if (!error.field.empty()) described["field"] = error.field;
        out += json::dump(described);
    } else {
        out += "null";
    }
    out += fmt::format(R"(,"status_url":"{}","events_url":"{}"}})", gate.status_url(job.id),
                       gate.events_url(job.id));
    return out;
}

std::vector<Endpoint> endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::post, "/api/jobs", "enqueueJob", Auth::bearer, with(enqueue)},
        {Method::get, "/api/jobs", "listJobs", Auth::bearer, with(list)},
        {Method::get, "/api/jobs/{id}", "getJob", Auth::bearer_or_job_token, with(read)},
        {Method::del, "/api/jobs/{id}", "cancelJob", Auth::bearer, with(cancel)},
        {Method::get, "/api/jobs/{id}/events", "followJob", Auth::bearer_or_job_token,
         with(events)},
    };
}

}  // namespace millrace::edge::surfaces::jobs
