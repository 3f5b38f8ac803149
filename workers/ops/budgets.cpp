// millrace-ops budgets set | show: the operator's cap on what a tenant's model calls may cost.

#include "shared/domain/billing/budgets.hpp"

#include <fmt/format.h>

#include "workers/ops/audit.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::seconds(30);

const postgres::Statement k_set{"budgets_set",
                                "UPDATE tenants SET budget_usd = $2::float8 WHERE id = $1"};

struct Options {
    std::string tenant;
    std::optional<double> usd;
    bool none = false;  ///< no --usd
};

Task<Result<void>> show(Context& context, base::TenantId tenant) {
    domain::billing::Budgets budgets(context.app());
    CO_TRY(const auto budget, co_await budgets.find(tenant, Deadline::in(k_timeout)));
    if (context.json()) {
        fmt::print("{}\n",
                   json::dump(json::Object{{"limit_usd", json::or_null(budget.limit_usd)},
                                           {"spent_usd", budget.spent_usd},
                                           {"reserved_usd", budget.reserved_usd},
                                           {"resets_at", base::rfc3339(budget.resets_at)}}));
        co_return Result<void>{};
    }
    fmt::print("spent this month: {:.4f} USD, and {:.4f} set aside\n", budget.spent_usd,
               budget.reserved_usd);
    fmt::print("budget: {}, until {}\n",
               budget.limit_usd ? fmt::format("{:.2f} USD", *budget.limit_usd) : "none",
               base::rfc3339(budget.resets_at));
    co_return Result<void>{};
}

Task<Result<void>> write_cap(Context& context, base::TenantId tenant, std::optional<double> usd) {
    CO_TRY(const auto rows, co_await context.owner().run(postgres::call(k_set, tenant, usd),
                                                         Deadline::in(k_timeout)));
    if (rows.affected() == 0) co_return fail(ErrorCode::not_found, "there is no such tenant");
    co_return Result<void>{};
}

Task<Result<void>> set(Context& context, base::TenantId tenant, std::optional<double> usd) {
    CO_TRY_VOID(co_await audited(context, "budgets set",
                                 {{"tenant", tenant.str()}, {"usd", json::or_null(usd)}},
                                 [&](Acting&) { return write_cap(context, tenant, usd); }));
    co_return co_await show(context, tenant);
}

Task<Result<void>> act(Context& context, Options options, bool sets) {
    const auto tenant = base::TenantId::parse(options.tenant);
    if (!tenant) co_return fail(ErrorCode::invalid, "--tenant: must be the id of a tenant");
    if (!sets) co_return co_await show(context, *tenant);
    co_return co_await set(context, *tenant, options.usd);
}

}  // namespace

void add_budgets(CLI::App& app, Context& context, Run& run) {
    auto* budgets = app.add_subcommand("budgets", "What a tenant's model calls may cost a month")
                        ->require_subcommand(1);
    auto options = std::make_shared<Options>();
    const auto runs = [&context, &run, options](bool sets) {
        return [&context, &run, options, sets] {
            run = [&context, options, sets] { return act(context, *options, sets); };
        };
    };
    auto* set_one =
        budgets->add_subcommand("set", "The operator's cap; the tenant may set a lower one");
    set_one->add_option("--tenant", options->tenant, "its id")->required();
    auto* usd = set_one->add_option("--usd", options->usd, "US dollars of a month")
                    ->check(CLI::Range(0.0, 1e9));
    set_one->add_flag("--none", options->none, "no cap")->excludes(usd);
    set_one->callback(runs(true));
    auto* shown = budgets->add_subcommand("show", "The budget that holds, and what is spent");
    shown->add_option("--tenant", options->tenant, "its id")->required();
    shown->callback(runs(false));
}

}  // namespace millrace::workers::ops
