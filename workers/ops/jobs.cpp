// millrace-ops jobs list | show | retry | cancel.

#include <fmt/format.h>

#include "shared/domain/jobs/replay.hpp"
#include "shared/domain/jobs/view.hpp"
#include "shared/json/writer.hpp"
#include "workers/ops/audit.hpp"
#include "workers/ops/send.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::seconds(10);

const postgres::Statement k_list{"ops_jobs_list", R"sql(
SELECT id, tenant_id, kind, status::text, attempt, created_at, finished_at FROM jobs
 WHERE ($1::text IS NULL OR status = $1::text::job_status) AND ($2::text IS NULL OR kind = $2) AND ($3::uuid IS NULL OR tenant_id = $3)
 ORDER BY id DESC LIMIT $4)sql"};
const postgres::Statement k_attempts{"ops_job_attempts", R"sql(
SELECT attempt, worker, outcome, cause, ended_at FROM job_attempts WHERE job_id = $1 ORDER BY attempt, ended_at)sql"};

struct Filter {
    std::optional<std::string> status, kind, tenant;
    std::int64_t limit = 50;
};

Result<base::JobId> parse_id(const std::string& text) {
    const auto id = base::JobId::parse(text);
    if (!id) return fail(ErrorCode::invalid, fmt::format("'{}' is not the id of a job", text));
    return *id;
}

Task<Result<void>> list(Context& context, Filter filter) {
    std::optional<base::Uuid> tenant;
    if (filter.tenant) {
        tenant = base::Uuid::parse(*filter.tenant);
        if (!tenant) co_return fail(ErrorCode::invalid, "--tenant must be a UUID");
    }
    CO_TRY(const auto rows,
           co_await context.pipeline().run(
               postgres::call(k_list, filter.status, filter.kind, tenant, filter.limit),
               Deadline::in(k_timeout)));
    json::Array out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        const auto finished = row.get<std::optional<base::WallTime>>(6);
        const auto id = row.get<base::Uuid>(0).str();
        const auto created = base::rfc3339_millis(row.get<base::WallTime>(5));
        if (context.json()) {
            out.push_back(
                json::Object{{"job_id", id},
                             {"tenant_id", row.get<base::Uuid>(1).str()},
                             {"kind", row.get<std::string>(2)},
                             {"status", row.get<std::string>(3)},
                             {"attempt", row.get<std::int32_t>(4)},
                             {"created_at", created},
                             {"finished_at", finished ? json::Value(base::rfc3339_millis(*finished))
                                                      : json::Value(nullptr)}});
        } else {
            fmt::print("{}  {:<18} {:<10} attempt {:<2} {}\n", id, row.get<std::string>(2),
                       row.get<std::string>(3), row.get<std::int32_t>(4), created);
        }
    }
    if (context.json()) fmt::print("{}\n", json::dump(out));
    co_return Result<void>{};
}

Task<Result<void>> show(Context& context, std::string text) {
    CO_TRY(const auto id, parse_id(text));
    domain::jobs::Reader reader(context.pipeline());
    CO_TRY(const auto job, co_await reader.find(id, Deadline::in(k_timeout)));
    if (!job) co_return fail(ErrorCode::not_found, "there is no such job");
    CO_TRY(const auto attempts, co_await context.pipeline().run(postgres::call(k_attempts, id),
                                                                Deadline::in(k_timeout)));
    json::Array ended;
    for (std::size_t r = 0; r < attempts.size(); ++r) {
        const auto row = attempts[r];
        ended.push_back(
            json::Object{{"attempt", row.get<std::int32_t>(0)},
                         {"worker", row.get<std::optional<std::string>>(1).value_or("")},
                         {"outcome", row.get<std::string>(2)},
                         {"cause", row.get<std::string>(3)},
                         {"ended_at", base::rfc3339_millis(row.get<base::WallTime>(4))}});
    }
    if (context.json()) {
        json::Object out{{"job_id", id.str()},
                         {"tenant_id", job->tenant.str()},
                         {"owner_id", job->owner.str()},
                         {"kind", job->kind},
                         {"status", domain::jobs::to_string(job->status)},
                         {"attempt", job->attempt},
                         {"created_at", base::rfc3339_millis(job->created_at)},
                         {"attempts", ended}};
        out["result"] = json::or_null(job->result);
        fmt::print("{}\n", json::dump(out));
        co_return Result<void>{};
    }
    fmt::print("{}  {}  {}  attempt {}\n  tenant {}  owner {}\n  accepted {}", id.str(), job->kind,
               domain::jobs::to_string(job->status), job->attempt, job->tenant.str(),
               job->owner.str(), base::rfc3339_millis(job->created_at));
    fmt::print("{}\n", job->finished_at ? "  ended " + base::rfc3339_millis(*job->finished_at)
                                        : std::string());
    for (const auto& entry : ended) {
        const auto& one = entry.as_object();
        fmt::print("  attempt {} on {}: {} at {}: {}\n", one.at("attempt").as_int64(),
                   one.at("worker").as_string().c_str(), one.at("outcome").as_string().c_str(),
                   one.at("ended_at").as_string().c_str(), one.at("cause").as_string().c_str());
    }
    if (job->result) fmt::print("  result: {}\n", job->result->substr(0, 2000));
    co_return Result<void>{};
}

Task<Result<void>> redrive_one(Context& context, base::JobId id, Acting& acting) {
    domain::jobs::Replay replay(context.pipeline(), context.catalog(), acting.actor);
    Sender sender(context, replay);
    const auto outbox = base::uuid_v7();
    std::vector<base::Uuid> one{id.uuid};
    CO_TRY(const auto done, co_await replay.redrive(one, "", outbox, Deadline::in(k_timeout)));
    acting.counts["queued"] = done[0].second == domain::jobs::Redriven::queued ? 1 : 0;
    switch (done[0].second) {
        case domain::jobs::Redriven::queued:
            CO_TRY_VOID(co_await sender.jobs(std::move(one), outbox, ""));
            co_return Result<void>{};
        case domain::jobs::Redriven::busy:
            co_return fail(ErrorCode::conflict,
                           "a later job of its key is running: try again when that has ended");
        case domain::jobs::Redriven::unchanged:
            co_return fail(ErrorCode::conflict,
                           "only a job that failed, died or was cancelled can be sent round again");
        case domain::jobs::Redriven::unknown:
            break;
    }
    co_return fail(ErrorCode::not_found, "there is no such job");
}

Task<Result<void>> retry(Context& context, std::string text) {
    CO_TRY(const auto id, parse_id(text));
    CO_TRY_VOID(co_await audited(
        context, "jobs retry", {{"job_id", id.str()}},
        [&context, id](Acting& acting) { return redrive_one(context, id, acting); }));
    fmt::print("{}\n", context.json()
                           ? fmt::format(R"({{"job_id":"{}","status":"queued"}})", id.str())
                           : id.str() + " is queued again");
    co_return Result<void>{};
}

Task<Result<void>> cancel_one(Context& context, base::JobId id, Acting& acting) {
    domain::jobs::Reader reader(context.pipeline());
    // The next job of its key is left to the relay.
    CO_TRY(const auto cancelled, co_await reader.cancel(id, Deadline::in(k_timeout)));
    const auto before = cancelled.before;
    if (!before) co_return fail(ErrorCode::not_found, "there is no such job");
    if (domain::jobs::is_final(*before)) {
        co_return fail(ErrorCode::conflict, fmt::format("the job has already ended: {}",
                                                        domain::jobs::to_string(*before)));
    }
    const bool requested = *before == domain::jobs::Status::running;
    acting.counts[requested ? "requested" : "cancelled"] = 1;
    fmt::print("{}\n", context.json()
                           ? fmt::format(R"({{"job_id":"{}","requested":{}}})", id.str(), requested)
                           : id.str() + (requested ? " was asked to stop" : " is cancelled"));
    co_return Result<void>{};
}

Task<Result<void>> cancel(Context& context, std::string text) {
    CO_TRY(const auto id, parse_id(text));
    CO_TRY_VOID(co_await audited(
        context, "jobs cancel", {{"job_id", id.str()}},
        [&context, id](Acting& acting) { return cancel_one(context, id, acting); }));
    co_return Result<void>{};
}

}  // namespace

void add_jobs(CLI::App& app, Context& context, Run& run) {
    auto* jobs = app.add_subcommand("jobs", "Look at jobs, send them round again, cancel them")
                     ->require_subcommand(1);
    auto filter = std::make_shared<Filter>();
    auto* listed = jobs->add_subcommand("list", "Newest first");
    listed
        ->add_option("--status", filter->status,
                     "queued, waiting, parked, running, succeeded, failed, dead or cancelled")
        ->check(CLI::IsMember({"queued", "waiting", "parked", "running", "succeeded", "failed",
                               "dead", "cancelled"}));
    listed->add_option("--kind", filter->kind, "for example knowledge.answer");
    listed->add_option("--tenant", filter->tenant, "a tenant's id");
    listed->add_option("--limit", filter->limit, "at most this many")->check(CLI::Range(1, 10000));
    listed->callback(
        [&context, &run, filter] { run = [&context, filter] { return list(context, *filter); }; });

    auto id = std::make_shared<std::string>();
    const auto one = [&](const char* name, const char* what,
                         Task<Result<void>> (*act)(Context&, std::string)) {
        auto* command = jobs->add_subcommand(name, what);
        command->add_option("job", *id, "the job's id")->required();
        command->callback(
            [&context, &run, id, act] { run = [&context, id, act] { return act(context, *id); }; });
    };
    one("show", "One job with its attempts", show);
    one("retry", "Queue a failed, dead or cancelled job again", retry);
    one("cancel", "End a job, or ask it to stop", cancel);
}

}  // namespace millrace::workers::ops
