// millrace-ops verify jobs: proves on a live system that every accepted job is accounted for.
//
// The rows are looked at in one snapshot. Whether a queued job is announced is decided exactly: it
// is when an outbox row names it, or when a record of it stands in its worker's topics at or after
// the offset that the worker's group has committed (offsets are stored after the claim, so what
// stands before them has been claimed or refused). The rows are read first, the log second, and
// then the rows again: only a job that has not moved in between counts.

#include <fmt/format.h>

#include <map>
#include <set>
#include <unordered_set>

#include "shared/json/writer.hpp"
#include "workers/ops/command.hpp"
#include "workers/ops/text.hpp"
#include "workers/ops/verify_sql.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr auto k_timeout = 30min;
constexpr auto k_kafka_timeout = 20s;
constexpr std::size_t k_listed = 20;  // of each kind of violation
constexpr std::size_t k_kept = 1000;  // compared between two looks
constexpr auto k_look_again = 1s;

struct Options {
    std::string since;
    std::int64_t settle = 15, outbox_age = 30;
};

struct Violations {
    std::int64_t count = 0;
    std::set<base::Uuid> keys;  ///< at most k_kept of them
};
using Wrong = std::map<std::string, Violations, std::less<>>;

struct Suspects {
    std::vector<base::Uuid> ids;
    std::vector<std::int32_t> attempts;
    std::vector<base::WallTime> since;
};

/// What a group has still to read of its worker's topics.
Result<std::vector<kafka::Range>> unread(Context& context, const std::string& worker) {
    const auto topics = context.catalog().topics_of_worker(worker);
    TRY(const auto committed,
        context.kafka().committed(context.group_of(worker), topics, k_kafka_timeout));
    std::vector<kafka::Range> ranges;
    for (const auto& at : committed) {
        TRY(const auto log, context.kafka().watermarks(at.topic, at.partition, k_kafka_timeout));
        ranges.push_back({at.topic, at.partition, std::max(at.offset, log.first), log.second});
    }
    return ranges;
}

Result<std::unordered_set<base::Uuid>> announced_in_log(Context& context) {
    std::set<std::string> workers;
    for (const auto& topic : context.catalog().topics()) {
        if (!topic.worker.empty()) workers.insert(topic.worker);
    }
    std::unordered_set<base::Uuid> ids;
    for (const auto& worker : workers) {
        TRY(const auto ranges, unread(context, worker));
        TRY_VOID(context.reader().read(
            ranges,
            [&ids](const kafka::Record& record) {
                if (const auto id = base::Uuid::parse(record.header("ce_id"))) ids.insert(*id);
                return true;
            },
            k_kafka_timeout));
    }
    return ids;
}

Task<Result<void>> look_for_unannounced(Context& context, base::Uuid since, Wrong& wrong) {
    auto& db = context.survey();
    CO_TRY(const auto rows,
           co_await db.run(postgres::call(k_verify_unannounced, since), Deadline::in(k_timeout)));
    if (rows.empty()) co_return Result<void>{};
    CO_TRY(const auto in_log, announced_in_log(context));
    Suspects suspects;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto id = rows[r].get<base::Uuid>(0);
        if (in_log.contains(id)) continue;
        suspects.ids.push_back(id);
        suspects.attempts.push_back(rows[r].get<std::int32_t>(1));
        suspects.since.push_back(rows[r].get<base::WallTime>(2));
    }
    if (suspects.ids.empty()) co_return Result<void>{};
    CO_TRY(const auto still,
           co_await db.run(postgres::call(k_verify_still_unannounced, suspects.ids,
                                          suspects.attempts, suspects.since),
                           Deadline::in(k_timeout)));
    if (still.empty()) co_return Result<void>{};
    auto& found = wrong["queued_unannounced"];
    found.count = static_cast<std::int64_t>(still.size());
    for (std::size_t r = 0; r < std::min(still.size(), k_kept); ++r)
        found.keys.insert(still[r].get<base::Uuid>(0));
    co_return Result<void>{};
}

Task<Result<Wrong>> look(Context& context, base::Uuid since, std::int64_t outbox_age) {
    std::vector<std::string> kinds;
    std::vector<bool> ordered, blocks;
    for (const auto& [name, kind] : context.catalog().kinds()) {
        kinds.push_back(name);
        ordered.push_back(kind.ordered);
        blocks.push_back(kind.dead_blocks);
    }
    Wrong wrong;
    CO_TRY(const auto rows,
           co_await context.survey().run(postgres::call(k_verify_rows, since, kinds, ordered,
                                                        blocks, static_cast<double>(outbox_age)),
                                         Deadline::in(k_timeout)));
    for (std::size_t r = 0; r < rows.size(); ++r) {
        auto& found = wrong[rows[r].get<std::string>(0)];
        found.count = rows[r].get<std::int64_t>(1);
        for (const auto& key : rows[r].get<std::vector<base::Uuid>>(2)) found.keys.insert(key);
    }
    CO_TRY_VOID(co_await look_for_unannounced(context, since, wrong));
    co_return wrong;
}

/// What was wrong at both looks. Beyond what is kept, numbers are all there is to compare.
void intersect(Wrong& wrong, const Wrong& now) {
    for (auto& [name, old] : wrong) {
        const auto again = now.find(name);
        if (again == now.end()) {
            old = {};
            continue;
        }
        const auto& seen = again->second;
        const auto all = [](const Violations& v) {
            return v.count == static_cast<std::int64_t>(v.keys.size());
        };
        if (!all(old) || !all(seen)) {
            old = {std::min(old.count, seen.count), seen.keys};
            continue;
        }
        std::erase_if(old.keys, [&](const base::Uuid& key) { return !seen.keys.contains(key); });
        old.count = static_cast<std::int64_t>(old.keys.size());
    }
    std::erase_if(wrong, [](const auto& entry) { return entry.second.count == 0; });
}

struct Counts {
    std::map<std::string, std::int64_t> by_status;
    std::int64_t total = 0;
};

Task<Result<Counts>> count_jobs(Context& context, base::Uuid since) {
    CO_TRY(const auto rows, co_await context.survey().run(postgres::call(k_verify_counts, since),
                                                          Deadline::in(k_timeout)));
    Counts counts;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto jobs = rows[r].get<std::int64_t>(1);
        counts.by_status[rows[r].get<std::string>(0)] = jobs;
        counts.total += jobs;
    }
    co_return counts;
}

std::vector<std::string> first_keys(const Violations& found) {
    std::vector<std::string> keys;
    for (const auto& key : found.keys) {
        if (keys.size() == k_listed) break;
        keys.push_back(key.str());
    }
    return keys;
}

void print_json(const Counts& counts, const Wrong& wrong, double seconds) {
    json::Object by_status;
    for (const auto& [status, jobs] : counts.by_status) by_status[status] = jobs;
    json::Array checks;
    for (const auto& check : k_checks) {
        const auto found = wrong.find(check.name);
        json::Array first;
        if (found != wrong.end()) {
            for (const auto& key : first_keys(found->second)) first.push_back(json::Value(key));
        }
        checks.push_back(
            json::Object{{"name", check.name},
                         {"what", check.what},
                         {"violations", found == wrong.end() ? 0 : found->second.count},
                         {"first", std::move(first)}});
    }
    fmt::print("{}\n", json::dump(json::Object{{"clean", wrong.empty()},
                                               {"jobs", std::move(by_status)},
                                               {"total", counts.total},
                                               {"seconds", seconds},
                                               {"checks", std::move(checks)}}));
}

void print_text(const Counts& counts, const Wrong& wrong, double seconds) {
    for (const auto& [status, jobs] : counts.by_status) fmt::print("{:<12} {:>12}\n", status, jobs);
    fmt::print("{:<12} {:>12}\n\n", "all", counts.total);
    for (const auto& check : k_checks) {
        const auto found = wrong.find(check.name);
        if (found == wrong.end()) continue;
        fmt::print("{}: {} ({})\n", check.name, found->second.count, check.what);
        for (const auto& key : first_keys(found->second)) fmt::print("  {}\n", key);
    }
    fmt::print("{} of {} checks are clean ({:.1f} s)\n", k_checks.size() - wrong.size(),
               k_checks.size(), seconds);
}

Task<Result<void>> verify(Context& context, Options options) {
    const auto started = std::chrono::steady_clock::now();
    base::Uuid since;
    if (!options.since.empty()) {
        CO_TRY(const auto when, parse_when(options.since));
        since = base::uuid_v7(when);
        std::fill(since.bytes.begin() + 6, since.bytes.end(), std::uint8_t{0});
    }
    CO_TRY(const auto counts, co_await count_jobs(context, since));
    CO_TRY(auto wrong, co_await look(context, since, options.outbox_age));
    const auto settled = Deadline::in(std::chrono::seconds(options.settle));
    while (!wrong.empty() && !settled.passed()) {
        co_await async::delay(context.executor(), std::min<std::chrono::nanoseconds>(
                                                      k_look_again, settled.remaining()));
        CO_TRY(const auto now, co_await look(context, since, options.outbox_age));
        intersect(wrong, now);
    }
    for (const auto& [name, found] : wrong) {
        check(std::ranges::any_of(k_checks, [&](const Check& c) { return c.name == name; }),
              "every violation has its check");
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    context.json() ? print_json(counts, wrong, took.count())
                   : print_text(counts, wrong, took.count());
    if (!wrong.empty())
        co_return fail(ErrorCode::conflict,
                       fmt::format("{} checks found violations", wrong.size()));
    co_return Result<void>{};
}

}  // namespace

void add_verify(CLI::App& app, Context& context, Run& run) {
    auto* verifying = app.add_subcommand("verify", "Prove that nothing is lost or was changed")
                          ->require_subcommand(1);
    add_verify_audit(*verifying, context, run);
    auto options = std::make_shared<Options>();
    auto* command = verifying->add_subcommand(
        "jobs", "Every job is accounted for: exit 0 when it is, 1 with the violations otherwise");
    command->add_option("--since", options->since,
                        "only jobs accepted since then: a time, or how long ago [all]");
    command
        ->add_option("--settle", options->settle,
                     "seconds for which something must be wrong at every look before it counts: "
                     "the time in which the system mends itself [15]")
        ->check(CLI::Range(0, 3600));
    command
        ->add_option("--outbox-age", options->outbox_age,
                     "seconds that an outbox row may stay [30]")
        ->check(CLI::Range(1, 86400));
    command->callback([&context, &run, options] {
        run = [&context, options] { return verify(context, *options); };
    });
}

}  // namespace millrace::workers::ops
