// millrace-ops: one-shot commands for operators. `millrace-ops --help` lists them.

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <csignal>

#include "shared/base/crypto.hpp"
#include "shared/telemetry/log.hpp"
#include "workers/ops/command.hpp"

namespace {

using namespace millrace;

Task<void> perform(workers::ops::Context& context, workers::ops::Run run, int& exit_code) {
    try {
        const auto done = co_await run();
        if (!done) {
            const auto& e = done.error();
            fmt::print(stderr, "millrace-ops: {}{}\n", e.detail,
                       e.log.empty() ? "" : " (" + e.log + ")");
            exit_code = 1;
        }
    } catch (const std::exception& e) {
        fmt::print(stderr, "millrace-ops: {}\n", e.what());
        exit_code = 1;
    }
    co_await context.close();
}

}  // namespace

int main(int argc, char** argv) {
    base::crypto_init();
    std::signal(SIGPIPE, SIG_IGN);
    telemetry::log::configure("millrace-ops", telemetry::log::Level::warning);
    asio::io_context io(1);
    workers::ops::Context context(io.get_executor());
    CLI::App app("Operate a running Millrace", "millrace-ops");
    app.require_subcommand(1);
    app.fallthrough();
    bool json = false;
    app.add_flag("--json", json, "Print JSON");
    std::string actor;
    app.add_option("--as", actor, "who acts, for the audit log [the system's user]");
    workers::ops::Run run;
    workers::ops::add_migrate(app, context, run);
    workers::ops::add_topics(app, context, run);
    workers::ops::add_jobs(app, context, run);
    workers::ops::add_import(app, context, run);
    workers::ops::add_search(app, context, run);
    workers::ops::add_vectors(app, context, run);
    workers::ops::add_eval(app, context, run);
    workers::ops::add_verify(app, context, run);
    workers::ops::add_reindex(app, context, run);
    workers::ops::add_redrive(app, context, run);
    workers::ops::add_lag(app, context, run);
    workers::ops::add_tail(app, context, run);
    workers::ops::add_replay(app, context, run);
    workers::ops::add_audit(app, context, run);
    workers::ops::add_users(app, context, run);
    workers::ops::add_budgets(app, context, run);
    workers::ops::add_sweep(app, context, run);
    workers::ops::add_backup(app, context, run);
    CLI11_PARSE(app, argc, argv);
    context.set_json(json);
    context.act_as(actor);
    int exit_code = 0;
    asio::co_spawn(io, perform(context, std::move(run), exit_code), asio::detached);
    io.run();
    return exit_code;
}
