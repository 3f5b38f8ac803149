// millrace-ops sweep objects: what the scheduler does every hour, at once; or what it would do.

#include <fmt/format.h>

#include "shared/config/groups.hpp"
#include "shared/domain/objects/orphans.hpp"
#include "workers/ops/audit.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::hours(6);

domain::objects::SweepOptions sweep_options(bool dry_run) {
    config::Loader loader;
    const auto settings = config::ObjectSweep::read(loader);
    if (!loader.problems().empty()) throw std::runtime_error(loader.problems().front());
    return {.age = settings.age, .dry_run = dry_run};
}

json::Object counts_of(const domain::objects::Swept& swept) {
    return {{"seen", swept.seen},
            {"orphans", swept.orphans},
            {"bytes", swept.bytes},
            {"uploads", swept.uploads}};
}

Task<Result<void>> remove_orphans(Context& context, domain::objects::SweepOptions options,
                                  Acting& acting) {
    domain::objects::Swept swept;
    const auto done = co_await domain::objects::sweep(
        context.objects(), context.pipeline(), options, swept,
        [&context](const object_store::Listed& object) {
            if (!context.json()) fmt::print("removed {}\n", object.key);
        },
        Deadline::in(k_timeout));
    acting.counts = counts_of(swept);
    co_return done;
}

Task<Result<void>> preview(Context& context, domain::objects::SweepOptions options) {
    domain::objects::Swept swept;
    json::Array keys;
    CO_TRY_VOID(co_await domain::objects::sweep(
        context.objects(), context.pipeline(), options, swept,
        [&keys](const object_store::Listed& object) { keys.emplace_back(object.key); },
        Deadline::in(k_timeout)));
    if (context.json()) {
        auto shown = counts_of(swept);
        shown["keys"] = std::move(keys);
        fmt::print("{}\n", json::dump(shown));
        co_return Result<void>{};
    }
    for (const auto& key : keys) fmt::print("{}\n", std::string_view(key.as_string()));
    fmt::print("{} of {} objects would be removed, {} bytes\n", swept.orphans, swept.seen,
               swept.bytes);
    co_return Result<void>{};
}

Task<Result<void>> sweep_objects(Context& context, bool dry_run) {
    const auto options = sweep_options(dry_run);
    if (dry_run) co_return co_await preview(context, options);
    const auto hours = std::chrono::duration<double, std::ratio<3600>>(options.age).count();
    CO_TRY(const auto counts,
           co_await audited(context, "sweep objects", {{"age_hours", hours}}, [&](Acting& acting) {
               return remove_orphans(context, options, acting);
           }));
    if (context.json())
        fmt::print("{}\n", json::dump(counts));
    else
        fmt::print("{} of {} objects were removed, {} bytes; {} unfinished uploads were ended\n",
                   counts.at("orphans").to_number<std::int64_t>(),
                   counts.at("seen").to_number<std::int64_t>(),
                   counts.at("bytes").to_number<std::int64_t>(),
                   counts.at("uploads").to_number<std::int64_t>());
    co_return Result<void>{};
}

}  // namespace

void add_sweep(CLI::App& app, Context& context, Run& run) {
    auto dry_run = std::make_shared<bool>(false);
    auto* sweep = app.add_subcommand("sweep", "What nothing refers to any more");
    sweep->require_subcommand(1);
    auto* objects = sweep->add_subcommand(
        "objects",
        "Remove objects that no document names and end unfinished uploads, those older than "
        "MILLRACE_OBJECT_ORPHAN_AGE; the scheduler does it every hour");
    objects->add_flag("--dry-run", *dry_run, "only say which objects");
    objects->callback([&context, &run, dry_run] {
        run = [&context, dry_run] { return sweep_objects(context, *dry_run); };
    });
}

}  // namespace millrace::workers::ops
