// millrace-ops redrive: failed, dead and cancelled jobs round again.

#include <fmt/format.h>

#include "workers/ops/audit.hpp"
#include "workers/ops/send.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;
namespace jobs = domain::jobs;

namespace {

constexpr auto k_timeout = 30s;
constexpr auto k_survey_timeout = 10min;
constexpr auto k_busy_pause = 200ms;
constexpr auto k_busy_max = 15s;

// In the order of acceptance; what was made for a comparison is left alone. The cause of a dead job
// is its letter's, that of a failed one the code of its error. Both are asked for only when a cause
// is given.
const postgres::Statement k_select{"redrive_select", R"sql(
SELECT j.id, j.kind, j.status::text
  FROM jobs j
 WHERE j.status = ANY ($1::text[]::job_status[]) AND ($2::text IS NULL OR j.kind = $2) AND ($3::uuid IS NULL OR j.tenant_id = $3)
   AND ($4::timestamptz IS NULL OR j.finished_at >= $4) AND ($5::timestamptz IS NULL OR j.finished_at < $5)
   AND CASE WHEN $6::text IS NULL THEN true
            WHEN j.status = 'dead' THEN EXISTS (SELECT FROM dead_letters d WHERE d.job_id = j.id AND d.redriven_at IS NULL AND d.cause = $6)
            WHEN j.status = 'failed' AND j.result IS NOT NULL THEN convert_from(j.result, 'UTF8')::json -> 'error' ->> 'code' = $6
            ELSE false END
   AND NOT EXISTS (SELECT FROM replay_jobs r WHERE r.job_id = j.id AND r.shadow)
 ORDER BY j.seq LIMIT $7)sql"};

struct Options {
    std::vector<std::string> status = {"dead", "failed"};
    std::optional<std::string> cause, kind, tenant, since, until;
    std::int64_t limit = 0, rate = 0;
    bool yes = false;
};

struct Selection {
    std::vector<base::Uuid> ids;
    std::map<std::string, std::int64_t> kinds, statuses;
};

Task<Result<Selection>> select(Context& context, const Options& options) {
    std::optional<base::Uuid> tenant;
    std::optional<base::WallTime> since, until;
    if (options.tenant) {
        tenant = base::Uuid::parse(*options.tenant);
        if (!tenant) co_return fail(ErrorCode::invalid, "--tenant must be a UUID");
    }
    if (options.since) {
        CO_TRY(since, parse_when(*options.since));
    }
    if (options.until) {
        CO_TRY(until, parse_when(*options.until));
    }
    const auto limit = options.limit > 0 ? std::optional(options.limit) : std::nullopt;
    CO_TRY(const auto rows,
           co_await context.survey().run(postgres::call(k_select, options.status, options.kind,
                                                        tenant, since, until, options.cause, limit),
                                         Deadline::in(k_survey_timeout)));
    Selection out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        out.ids.push_back(rows[r].get<base::Uuid>(0));
        ++out.kinds[rows[r].get<std::string>(1)];
        ++out.statuses[rows[r].get<std::string>(2)];
    }
    co_return out;
}

struct Totals {
    std::int64_t queued = 0, unchanged = 0, busy = 0;
};

/// Those whose key is busy are tried again until it is not, or the time is up.
Task<Result<void>> redrive_batch(Context& context, jobs::Replay& replay, Sender& sender,
                                 std::vector<base::Uuid> ids, Totals& totals) {
    const auto patience = Deadline::in(k_busy_max);
    for (;;) {
        const auto outbox = base::uuid_v7();
        CO_TRY(const auto done,
               co_await replay.redrive(std::move(ids), "", outbox, Deadline::in(k_timeout)));
        std::vector<base::Uuid> queued;
        ids = {};
        for (const auto& [id, outcome] : done) {
            if (outcome == jobs::Redriven::queued) queued.push_back(id.uuid);
            if (outcome == jobs::Redriven::busy) ids.push_back(id.uuid);
            totals.unchanged +=
                outcome == jobs::Redriven::unchanged || outcome == jobs::Redriven::unknown;
        }
        totals.queued += static_cast<std::int64_t>(queued.size());
        if (!queued.empty()) CO_TRY_VOID(co_await sender.jobs(std::move(queued), outbox, ""));
        if (ids.empty() || patience.passed()) break;
        co_await async::delay(context.executor(), k_busy_pause);
    }
    totals.busy += static_cast<std::int64_t>(ids.size());
    co_return Result<void>{};
}

Task<Result<void>> act(Context& context, const Options& options, const Selection& selection,
                       Acting& acting) {
    jobs::Replay replay(context.pipeline(), context.catalog(), acting.actor);
    Sender sender(context, replay);
    Pace pace(context.executor(), options.rate);
    const Progress progress(selection.ids.size());
    Totals totals;
    Result<void> ended;
    for (std::size_t done = 0; ended && done < selection.ids.size();) {
        const auto size = std::min(pace.batch(), selection.ids.size() - done);
        const auto first = selection.ids.begin() + static_cast<std::ptrdiff_t>(done);
        std::vector<base::Uuid> batch(first, first + static_cast<std::ptrdiff_t>(size));
        ended = co_await redrive_batch(context, replay, sender, std::move(batch), totals);
        done += size;
        progress.show(done, done == selection.ids.size());
        co_await pace.sent(size);
    }
    acting.counts = {{"selected", selection.ids.size()},
                     {"queued", totals.queued},
                     {"produced", sender.total().confirmed},
                     {"unchanged", totals.unchanged},
                     {"busy", totals.busy}};
    co_return ended;
}

void print_preview(const Selection& selection, const Estimate& cost) {
    fmt::print("{} jobs would go round again", selection.ids.size());
    for (const auto& [status, count] : selection.statuses) fmt::print(", {} {}", count, status);
    fmt::print("; about ${:.4f}\n", cost.cost_usd());
    cost.print();
}

Task<Result<void>> redrive(Context& context, Options options) {
    CO_TRY(const auto selection, co_await select(context, options));
    CO_TRY(const auto cost, co_await estimate(context, selection.kinds));
    json::Object out{{"jobs", selection.ids.size()}, {"estimate", cost.to_json()}};
    if (!context.json()) print_preview(selection, cost);
    if (options.yes && !selection.ids.empty()) {
        json::Object arguments{{"status", boost::json::value_from(options.status)}};
        for (const auto& [name, value] :
             {std::pair("cause", options.cause), std::pair("kind", options.kind),
              std::pair("tenant", options.tenant), std::pair("since", options.since),
              std::pair("until", options.until)}) {
            if (value) arguments[name] = *value;
        }
        if (options.limit > 0) arguments["limit"] = options.limit;
        CO_TRY(auto counts,
               co_await audited(context, "redrive", std::move(arguments), [&](Acting& acting) {
                   return act(context, options, selection, acting);
               }));
        if (!context.json())
            fmt::print("{} queued, {} of their records confirmed, {} had moved on, {} busy\n",
                       counts["queued"].as_int64(), counts["produced"].as_int64(),
                       counts["unchanged"].as_int64(), counts["busy"].as_int64());
        out["done"] = std::move(counts);
    } else if (!context.json() && !selection.ids.empty()) {
        fmt::print("nothing was done: --yes does it\n");
    }
    if (context.json()) fmt::print("{}\n", json::dump(out));
    co_return Result<void>{};
}

}  // namespace

void add_redrive(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = app.add_subcommand(
        "redrive", "Send dead and failed jobs round again; says what it would do until --yes");
    command
        ->add_option("--status", options->status,
                     "dead, failed, cancelled; may be repeated [dead and failed]")
        ->check(CLI::IsMember({"dead", "failed", "cancelled"}));
    command->add_option("--cause", options->cause,
                        "only those that died of this (attempts, crashed, …) or failed with this "
                        "error code");
    command->add_option("--kind", options->kind, "for example knowledge.answer");
    command->add_option("--tenant", options->tenant, "a tenant's id");
    command->add_option("--since", options->since, "ended then or later: a time, or how long ago");
    command->add_option("--until", options->until, "ended before then");
    command->add_option("--limit", options->limit, "at most this many, the earliest first")
        ->check(CLI::Range(1, 1'000'000'000));
    command->add_option("--rate", options->rate, "at most this many per second [no cap]")
        ->check(CLI::Range(1, 100'000));
    command->add_flag("--yes", options->yes, "do it");
    command->callback([&context, &run, options] {
        run = [&context, options] { return redrive(context, *options); };
    });
}

}  // namespace millrace::workers::ops
