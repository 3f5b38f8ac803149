// millrace-ops verify audit: the chain of seals over audit_logs holds.

#include <fmt/format.h>

#include "shared/domain/audit/audit.hpp"
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::minutes(10);

const postgres::Statement k_broken{"audit_broken", "SELECT number, problem FROM broken_seals()"};
const postgres::Statement k_counts{"audit_counts", R"sql(
SELECT (SELECT count(*) FROM audit_logs), (SELECT count(*) FROM audit_sealed), (SELECT count(*) FROM audit_seals))sql"};

Task<Result<void>> verify(Context& context) {
    CO_TRY(const auto seal,
           co_await domain::audit::seal(context.pipeline(), Deadline::in(k_timeout)));
    CO_TRY(const auto broken,
           co_await context.survey().run({&k_broken, {}}, Deadline::in(k_timeout)));
    CO_TRY(const auto counts,
           co_await context.survey().run({&k_counts, {}}, Deadline::in(k_timeout)));
    const auto rows = counts[0].get<std::int64_t>(0), sealed = counts[0].get<std::int64_t>(1);
    json::Array problems;
    for (std::size_t r = 0; r < broken.size(); ++r) {
        const auto number = broken[r].get<std::int64_t>(0);
        const auto problem = broken[r].get<std::string>(1);
        problems.push_back(json::Object{{"seal", number}, {"problem", problem}});
        if (!context.json()) fmt::print("seal {}: {}\n", number, problem);
    }
    if (context.json()) {
        fmt::print("{}\n", json::dump(json::Object{{"clean", broken.empty()},
                                                   {"rows", rows},
                                                   {"sealed", sealed},
                                                   {"seals", counts[0].get<std::int64_t>(2)},
                                                   {"head", seal.number},
                                                   {"hash", seal.hash},
                                                   {"problems", std::move(problems)}}));
    } else {
        fmt::print("{} rows, {} of them sealed; seal {} is {}\n", rows, sealed, seal.number,
                   seal.hash);
    }
    if (!broken.empty())
        co_return fail(ErrorCode::conflict,
                       fmt::format("{} seals do not fit what stands in audit_logs", broken.size()));
    co_return Result<void>{};
}

}  // namespace

void add_verify_audit(CLI::App& verifying, Context& context, Run& run) {
    verifying
        .add_subcommand("audit",
                        "No row of the audit log was changed or taken away: compare the printed "
                        "hash with the scheduler's log")
        ->callback([&context, &run] { run = [&context] { return verify(context); }; });
}

}  // namespace millrace::workers::ops
