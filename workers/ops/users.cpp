// millrace-ops users create | list | export | erase: accounts of all realms.

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <fstream>
#include <iostream>

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/identity/address.hpp"
#include "shared/domain/identity/erasure.hpp"
#include "shared/domain/identity/passwords.hpp"
#include "shared/domain/jobs/live.hpp"
#include "workers/ops/audit.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

namespace {

using namespace std::chrono_literals;

constexpr auto k_timeout = 60s;
constexpr int k_attempts = 20;  // more are not kept in Redis at once

const postgres::Statement k_tenant_of{
    "users_tenant_of",
    "SELECT id FROM tenants WHERE realm = $1 AND (id::text = $2 OR domain = lower($2))"};
const postgres::Statement k_new_tenant{"users_new_tenant",
                                       "INSERT INTO tenants (id, realm, name) VALUES ($1, $2, $3)"};
const postgres::Statement k_create{"users_create", R"sql(
INSERT INTO users (id, tenant_id, realm, email, email_key, username, password_hash, role, is_owner, is_verified)
VALUES ($1, $2, $3, $4, lower($4), $5, $6, $7, $8, true) ON CONFLICT (realm, email_key) DO NOTHING RETURNING id)sql"};
const postgres::Statement k_find_person{
    "users_find", "SELECT id FROM users WHERE realm = $1 AND email_key = lower($2)"};
const postgres::Statement k_list_persons{"users_list", R"sql(
SELECT u.realm, u.email, u.role, u.is_owner, u.is_active, u.is_verified, u.tenant_id, u.id, u.created_at FROM users u
 WHERE ($1::text IS NULL OR u.realm = $1) ORDER BY u.id DESC LIMIT $2)sql"};
const postgres::Statement k_export{"users_export",
                                   "SELECT source, line::text FROM export_person($1)"};

struct Options {
    std::string realm = "knowledge", email, role, username, tenant, out;
    bool password_stdin = false, yes = false;
    std::int64_t limit = 100;
};

Task<Result<base::UserId>> find_person(Context& context, const Options& options) {
    CO_TRY(const auto rows,
           co_await context.owner().run(postgres::call(k_find_person, options.realm, options.email),
                                        Deadline::in(k_timeout)));
    if (rows.empty()) {
        co_return fail(ErrorCode::not_found,
                       fmt::format("{} has no account of {}", options.realm, options.email));
    }
    co_return rows[0].get<base::UserId>(0);
}

/// A company's tenant is named; a person is a tenant of one.
Task<Result<base::TenantId>> tenant_for(Context& context, const Options& options) {
    if (options.realm == "knowledge") {
        CO_TRY(const auto rows, co_await context.owner().run(
                                    postgres::call(k_tenant_of, options.realm, options.tenant),
                                    Deadline::in(k_timeout)));
        if (rows.empty()) {
            co_return fail(ErrorCode::not_found,
                           options.tenant.empty()
                               ? "--tenant names the tenant, by its id or domain"
                               : fmt::format("there is no tenant '{}'", options.tenant));
        }
        co_return rows[0].get<base::TenantId>(0);
    }
    const auto tenant = base::TenantId::make();
    CO_TRY_VOID(co_await context.owner().run(
        postgres::call(k_new_tenant, tenant, options.realm, base::ascii_lower(options.email)),
        Deadline::in(k_timeout)));
    co_return tenant;
}

/// The account's row, after its tenant where that is its own.
Task<Result<void>> make_account(Context& context, const Options& options, base::UserId id,
                                const std::optional<std::string>& hash, Acting& acting) {
    const auto known = co_await find_person(context, options);
    if (known)
        co_return fail(ErrorCode::conflict, fmt::format("{} has an account of {} already",
                                                        options.realm, options.email));
    CO_TRY(const auto tenant, co_await tenant_for(context, options));
    CO_TRY(const auto rows,
           co_await context.owner().run(
               postgres::call(k_create, id, tenant, options.realm, options.email, options.username,
                              hash, options.role, options.realm != "knowledge"),
               Deadline::in(k_timeout)));
    if (rows.empty()) co_return fail(ErrorCode::conflict, "somebody else has just made it");
    acting.counts = {{"created", 1}};
    co_return Result<void>{};
}

Task<Result<void>> create(Context& context, Options options) {
    if (!domain::identity::is_email(options.email))
        co_return fail(ErrorCode::invalid, "--email: must be an e-mail address");
    const bool by_password = options.realm == "knowledge" || options.realm == "diary";
    std::string password;
    if (by_password && options.password_stdin) {
        std::getline(std::cin, password);
        if (password.size() < 8)
            co_return fail(ErrorCode::invalid, "the password has fewer than 8 characters");
    } else if (by_password) {
        password = "Aa1" + base::random_token(18);
    }
    std::optional<std::string> hash;
    if (by_password) {
        domain::identity::Passwords passwords(context.executor());
        CO_TRY(hash, co_await passwords.hash(password));
    }
    if (options.username.empty())
        options.username = options.email.substr(0, options.email.find('@'));
    const auto id = base::UserId::make();
    CO_TRY_VOID(co_await audited(
        context, "users create",
        {{"realm", options.realm}, {"user", id.str()}, {"role", options.role}},
        [&](Acting& acting) { return make_account(context, options, id, hash, acting); }));
    const bool show = by_password && !options.password_stdin;
    if (context.json()) {
        json::Object out{{"id", id.str()}, {"email", options.email}, {"role", options.role}};
        if (show) out["password"] = password;
        fmt::print("{}\n", json::dump(out));
    } else {
        fmt::print("{} is {} of {} ({})\n", options.email, options.role, options.realm, id.str());
        if (show) fmt::print("the password, shown this once: {}\n", password);
    }
    co_return Result<void>{};
}

Task<Result<void>> list_persons(Context& context, std::optional<std::string> realm,
                                std::int64_t limit) {
    CO_TRY(const auto rows,
           co_await context.owner().run(postgres::call(k_list_persons, realm, limit),
                                        Deadline::in(k_timeout)));
    json::Array out;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        json::Object line{{"realm", row.get<std::string>(0)},
                          {"email", row.get<std::string>(1)},
                          {"role", row.get<std::string>(2)},
                          {"is_owner", row.get<bool>(3)},
                          {"is_active", row.get<bool>(4)},
                          {"is_verified", row.get<bool>(5)},
                          {"tenant", row.get<base::TenantId>(6).str()},
                          {"id", row.get<base::UserId>(7).str()},
                          {"created_at", base::rfc3339(row.get<base::WallTime>(8))}};
        if (!context.json()) {
            fmt::print("{:<10} {:<36} {:<11} {}{}{}\n", row.get<std::string>(0),
                       row.get<std::string>(1), row.get<std::string>(2),
                       row.get<bool>(3) ? "owner " : "", row.get<bool>(4) ? "" : "inactive ",
                       row.get<bool>(5) ? "" : "unverified");
        }
        out.push_back(std::move(line));
    }
    if (context.json()) fmt::print("{}\n", json::dump(out));
    co_return Result<void>{};
}

Task<Result<void>> write_export(Context& context, base::UserId person, const std::string& file,
                                Acting& acting) {
    CO_TRY(const auto rows,
           co_await context.owner().run(postgres::call(k_export, person), Deadline::in(k_timeout)));
    json::Object all;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto source = rows[r].get<std::string>(0);
        if (!all.contains(source)) all[source] = json::Array{};
        all[source].as_array().push_back(boost::json::parse(rows[r].get<std::string>(1)));
    }
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out << json::dump(all) << "\n" << std::flush;
    if (!out) co_return fail(ErrorCode::invalid, fmt::format("{} cannot be written", file));
    acting.counts = {{"rows", rows.size()}};
    co_return Result<void>{};
}

Task<Result<void>> export_person(Context& context, Options options) {
    CO_TRY(const auto person, co_await find_person(context, options));
    CO_TRY(const auto counts,
           co_await audited(context, "users export", {{"user", person.str()}}, [&](Acting& acting) {
               return write_export(context, person, options.out, acting);
           }));
    if (context.json()) {
        fmt::print("{}\n", json::dump(counts));
    } else {
        fmt::print("{} rows are in {}\n", counts.at("rows").to_number<std::int64_t>(), options.out);
    }
    co_return Result<void>{};
}

Task<Result<void>> forget_streams(Context& context, std::vector<base::Uuid> jobs) {
    auto& redis = context.redis();
    const auto connected = Deadline::in(5s);
    while (!redis.connected() && !connected.passed())
        co_await async::delay(context.executor(), 20ms);
    for (const auto& job : jobs) {
        redis::Args keys{"DEL"};
        for (auto& key : domain::jobs::live_keys(base::JobId{job}, k_attempts))
            keys.push_back(std::move(key));
        CO_TRY_VOID(co_await redis.command(std::move(keys), Deadline::in(5s)));
    }
    co_return Result<void>{};
}

Task<Result<void>> erase_all_of(Context& context, base::UserId person, Acting& acting) {
    CO_TRY(const auto erased, co_await domain::identity::erase_person(context.owner(), person,
                                                                      Deadline::in(k_timeout)));
    for (const auto& key : erased.object_keys) CO_TRY_VOID(co_await context.objects().remove(key));
    CO_TRY_VOID(co_await forget_streams(context, erased.jobs));
    acting.counts = {{"jobs", erased.jobs.size()}, {"objects", erased.object_keys.size()}};
    co_return Result<void>{};
}

Task<Result<void>> erase(Context& context, Options options) {
    CO_TRY(const auto person, co_await find_person(context, options));
    if (!options.yes) {
        fmt::print("{} of {} ({}) would be erased for good: --yes does it\n", options.email,
                   options.realm, person.str());
        co_return Result<void>{};
    }
    CO_TRY(const auto counts,
           co_await audited(context, "users erase", {{"user", person.str()}},
                            [&](Acting& acting) { return erase_all_of(context, person, acting); }));
    if (context.json()) {
        fmt::print("{}\n", json::dump(counts));
    } else {
        fmt::print("erased, with {} jobs and {} objects\n",
                   counts.at("jobs").to_number<std::int64_t>(),
                   counts.at("objects").to_number<std::int64_t>());
    }
    co_return Result<void>{};
}

void add_whom(CLI::App& command, Options& options) {
    command.add_option("--realm", options.realm, "knowledge, diary, karte or planner [knowledge]")
        ->check(CLI::IsMember({"knowledge", "diary", "karte", "planner"}));
    command.add_option("--email", options.email, "of the account")->required();
}

}  // namespace

void add_users(CLI::App& app, Context& context, Run& run) {
    auto* users = app.add_subcommand("users", "Accounts of the products")->require_subcommand(1);
    auto options = std::make_shared<Options>();
    const auto runs = [&context, &run, options](Task<Result<void>> (*act)(Context&, Options)) {
        return [&context, &run, options, act] {
            run = [&context, options, act] { return act(context, *options); };
        };
    };
    auto* made = users->add_subcommand("create", "An account, verified, with a role");
    add_whom(*made, *options);
    made->add_option("--role", options->role, "OPERATOR, USER, ADMIN or SUPER_ADMIN")
        ->required()
        ->check(CLI::IsMember({"OPERATOR", "USER", "ADMIN", "SUPER_ADMIN"}));
    made->add_option("--username", options->username, "[what stands before the @]");
    made->add_option("--tenant", options->tenant, "of knowledge: its id or domain");
    made->add_flag("--password-stdin", options->password_stdin,
                   "read the password from standard input [a random one is made and shown]");
    made->callback(runs(create));

    auto* listed = users->add_subcommand("list", "Newest first");
    auto realm = std::make_shared<std::optional<std::string>>();
    listed->add_option("--realm", *realm, "only this one's");
    listed->add_option("--limit", options->limit, "at most this many [100]")
        ->check(CLI::Range(1, 100'000));
    listed->callback([&context, &run, realm, options] {
        run = [&context, realm, options] { return list_persons(context, *realm, options->limit); };
    });

    auto* exported = users->add_subcommand("export", "All of a person's data as one JSON file");
    add_whom(*exported, *options);
    exported->add_option("--out", options->out, "the file")->required();
    exported->callback(runs(export_person));

    auto* erased = users->add_subcommand(
        "erase", "A person's account, rows, documents and live data; says what until --yes");
    add_whom(*erased, *options);
    erased->add_flag("--yes", options->yes, "do it");
    erased->callback(runs(erase));
}

}  // namespace millrace::workers::ops
