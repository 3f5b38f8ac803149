// millrace-ops migrate: numbered SQL files, each in one transaction, each once; a changed file is
// refused.

#include <fmt/format.h>

#include "shared/base/crypto.hpp"
#include "workers/ops/audit.hpp"
#include "workers/ops/embedded_sql.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::seconds(60);
constexpr const char* k_ledger = R"sql(
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()))sql";

const postgres::Statement k_applied{"migrate_applied",
                                    "SELECT sha256 FROM schema_migrations WHERE name = $1"};

Task<Result<void>> migrate(Context& context) {
    auto& db = context.owner();
    CO_TRY_VOID(co_await db.script(k_ledger, Deadline::in(k_timeout)));
    int applied = 0;
    json::Array names;
    for (const auto& file : embedded_sql()) {
        const auto hash = base::hex(base::sha256(file.text));
        CO_TRY(const auto rows,
               co_await db.run(postgres::call(k_applied, file.name), Deadline::in(k_timeout)));
        if (!rows.empty()) {
            if (rows[0].get<std::string_view>(0) == hash) continue;
            co_return fail(
                ErrorCode::conflict,
                fmt::format("{} was changed after it had been applied: add a new migration",
                            file.name));
        }
        const auto script = fmt::format(
            "BEGIN;\nSELECT pg_advisory_xact_lock(7219340912);\n{}\n"
            "INSERT INTO schema_migrations (name, sha256) VALUES ('{}', '{}');\nCOMMIT;",
            file.text, file.name, hash);
        CO_TRY_VOID(co_await db.script(script, Deadline::in(k_timeout)));
        ++applied;
        names.push_back(json::Value(file.name));
        if (!context.json()) fmt::print("applied {}\n", file.name);
    }
    if (applied > 0) {
        CO_TRY_VOID(co_await audit_done(db, context, "migrate", {},
                                        {{"applied", applied}, {"files", std::move(names)}}));
    }
    if (context.json()) {
        fmt::print("{{\"applied\":{},\"total\":{}}}\n", applied, embedded_sql().size());
    } else if (applied == 0) {
        fmt::print("the schema is up to date ({} migrations)\n", embedded_sql().size());
    }
    co_return Result<void>{};
}

}  // namespace

void add_migrate(CLI::App& app, Context& context, Run& run) {
    app.add_subcommand("migrate", "Bring the database schema up to date")
        ->callback([&context, &run] { run = [&context] { return migrate(context); }; });
}

}  // namespace millrace::workers::ops
