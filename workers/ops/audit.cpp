// millrace-ops audit list, and what the acting commands write.

#include "workers/ops/audit.hpp"

#include <fmt/format.h>

#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::seconds(10);

const postgres::Statement k_insert{"audit_insert", R"sql(
INSERT INTO audit_logs (id, actor, command, arguments, outcome, counts, trace_id) VALUES ($1, $2, $3, $4, $5, $6, $7))sql"};
// One line per command: its end, or its beginning while it has none.
const postgres::Statement k_list{"audit_list", R"sql(
SELECT * FROM (
    SELECT DISTINCT ON (trace_id) id, at, actor, command, arguments::text, outcome, counts::text, trace_id FROM audit_logs
     WHERE at >= $1 AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR command = $3)
     ORDER BY trace_id, outcome = 'begun', id) last
 ORDER BY id DESC LIMIT $4)sql"};

struct Filter {
    std::string since = "30d";
    std::optional<std::string> actor, command;
    std::int64_t limit = 50;
};

postgres::Call insert(const Acting& acting, const std::string& command,
                      const json::Object& arguments, std::string_view outcome) {
    const auto given = json::dump(arguments), counts = json::dump(acting.counts);
    return postgres::call(k_insert, base::uuid_v7(), acting.actor, command, postgres::Jsonb{given},
                          outcome, postgres::Jsonb{counts}, acting.trace.trace_id_hex());
}

Task<Result<void>> list(Context& context, Filter filter) {
    CO_TRY(const auto since, parse_when(filter.since));
    CO_TRY(const auto rows,
           co_await context.pipeline().run(
               postgres::call(k_list, since, filter.actor, filter.command, filter.limit),
               Deadline::in(k_timeout)));
    json::Array out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        const auto at = base::rfc3339_millis(row.get<base::WallTime>(1));
        const auto arguments = row.get<std::string>(4), counts = row.get<std::string>(6);
        if (context.json()) {
            out.push_back(json::Object{{"at", at},
                                       {"actor", row.get<std::string>(2)},
                                       {"command", row.get<std::string>(3)},
                                       {"arguments", boost::json::parse(arguments)},
                                       {"outcome", row.get<std::string>(5)},
                                       {"counts", boost::json::parse(counts)},
                                       {"trace_id", row.get<std::string>(7)}});
        } else {
            fmt::print("{}  {:<12} {:<14} {:<7} {} -> {}\n", at, row.get<std::string>(2),
                       row.get<std::string>(3), row.get<std::string>(5), arguments, counts);
        }
    }
    if (context.json()) fmt::print("{}\n", json::dump(out));
    co_return Result<void>{};
}

}  // namespace

Task<Result<json::Object>> audited(Context& context, std::string command, json::Object arguments,
                                   std::function<Task<Result<void>>(Acting&)> act) {
    Acting acting{.actor = context.actor(), .counts = {}};
    auto& db = context.pipeline();
    CO_TRY_VOID(
        co_await db.run(insert(acting, command, arguments, "begun"), Deadline::in(k_timeout)));
    auto done = co_await act(acting);
    if (!done) acting.counts["error"] = done.error().detail;
    const auto noted = co_await db.run(insert(acting, command, arguments, done ? "done" : "failed"),
                                       Deadline::in(k_timeout));
    if (!done) co_return std::unexpected(std::move(done).error());
    if (!noted) co_return std::unexpected(noted.error());
    co_return std::move(acting.counts);
}

Task<Result<void>> audit_done(postgres::Database& db, const Context& context, std::string command,
                              json::Object arguments, json::Object counts) {
    const Acting acting{.actor = context.actor(), .counts = std::move(counts)};
    CO_TRY_VOID(
        co_await db.run(insert(acting, command, arguments, "done"), Deadline::in(k_timeout)));
    co_return Result<void>{};
}

void add_audit(CLI::App& app, Context& context, Run& run) {
    auto* audit = app.add_subcommand("audit", "Who did what with this tool")->require_subcommand(1);
    auto filter = std::make_shared<Filter>();
    auto* listed = audit->add_subcommand("list", "Newest first");
    listed->add_option("--since", filter->since, "a time, or how long ago [30d]");
    listed->add_option("--actor", filter->actor, "only what this one did");
    listed->add_option("--command", filter->command, "only this command, such as replay");
    listed->add_option("--limit", filter->limit, "at most this many")->check(CLI::Range(1, 10000));
    listed->callback(
        [&context, &run, filter] { run = [&context, filter] { return list(context, *filter); }; });
}

}  // namespace millrace::workers::ops
