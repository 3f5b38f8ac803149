// millrace-ops reindex: a tenant's index made anew, or everybody's. The scheduler announces what
// this writes.

#include <fmt/format.h>

#include "shared/domain/knowledge/generations.hpp"
#include "shared/json/writer.hpp"
#include "workers/ops/audit.hpp"
#include "workers/ops/tenant_api.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr auto k_timeout = 30s;

const postgres::Statement k_tenants{"reindex_tenants",
                                    "SELECT DISTINCT tenant_id FROM files ORDER BY 1"};

struct Options {
    std::string tenant;
    bool all = false;
};

Task<Result<std::vector<std::string>>> names_of(Context& context, Options options) {
    if (!options.all) co_return std::vector<std::string>{options.tenant};
    CO_TRY(const auto rows,
           co_await context.owner().run(postgres::call(k_tenants), Deadline::in(k_timeout)));
    std::vector<std::string> out;
    for (std::size_t r = 0; r < rows.size(); ++r)
        out.push_back(rows[r].get<base::TenantId>(0).str());
    co_return out;
}

Task<Result<void>> start(Context& context, const std::vector<domain::identity::Principal>& owners,
                         Acting& acting, json::Array& started) {
    domain::knowledge::IndexGenerations generations(context.app());
    for (const auto& owner : owners) {
        CO_TRY(const auto one,
               co_await generations.start(owner, acting.trace.child(), Deadline::in(k_timeout)));
        started.push_back(json::Object{{"tenant_id", owner.tenant.str()},
                                       {"index_generation", one.id.str()},
                                       {"job_id", one.job.str()}});
        acting.counts["started"] = started.size();
    }
    co_return Result<void>{};
}

Task<Result<void>> reindex(Context& context, Options options) {
    std::vector<domain::identity::Principal> owners;
    CO_TRY(const auto names, co_await names_of(context, options));
    for (const auto& name : names) {
        CO_TRY(auto owner, co_await find_owner(context, name));
        owners.push_back(std::move(owner));
    }
    json::Array started;
    CO_TRY_VOID(
        co_await audited(context, "reindex", {{"tenant", options.tenant}, {"all", options.all}},
                         [&](Acting& acting) { return start(context, owners, acting, started); }));
    if (context.json()) fmt::print("{}\n", json::dump(started));
    for (const auto& one : started) {
        if (context.json()) break;
        const auto text = [&one](std::string_view key) {
            return std::string_view(one.as_object().at(key).as_string());
        };
        fmt::print("tenant {}: index generation {}, job {}\n", text("tenant_id"),
                   text("index_generation"), text("job_id"));
    }
    co_return Result<void>{};
}

}  // namespace

void add_reindex(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = app.add_subcommand("reindex",
                                       "Embed all documents of a tenant anew; they go live "
                                       "together, if the tenant's questions are answered no worse");
    auto* tenant = command->add_option("--tenant", options->tenant,
                                       "a tenant's id or domain [the only one that has documents]");
    command->add_flag("--all", options->all, "every tenant that has documents")->excludes(tenant);
    command->callback([&context, &run, options] {
        run = [&context, options] { return reindex(context, *options); };
    });
}

}  // namespace millrace::workers::ops
