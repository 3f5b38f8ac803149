// millrace-ops lag: how far each worker is behind, in its topics and in the jobs table.

#include <fmt/format.h>

#include <set>

#include "shared/json/writer.hpp"
#include "workers/ops/command.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr auto k_timeout = 5min;
constexpr auto k_kafka_timeout = 20s;

const postgres::Statement k_unfinished{"lag_unfinished", R"sql(
SELECT kind, count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'running'),
       count(*) FILTER (WHERE status = 'waiting'), count(*) FILTER (WHERE status = 'parked'),
       extract(epoch FROM now() - min(created_at))::double precision
  FROM jobs WHERE status IN ('queued', 'waiting', 'parked', 'running') GROUP BY kind ORDER BY kind)sql"};

struct Options {
    std::string worker;
    bool watch = false;
    std::int64_t every = 2;
};

struct Partition {
    std::string worker;
    kafka::Position committed;
    std::int64_t end = 0;
    /// A group that has committed nothing starts at the beginning.
    std::int64_t lag = 0;
};

Result<std::vector<Partition>> partitions(Context& context, const std::string& only) {
    std::set<std::string> workers;
    for (const auto& topic : context.catalog().topics()) {
        if (!topic.worker.empty() && (only.empty() || topic.worker == only))
            workers.insert(topic.worker);
    }
    if (workers.empty())
        return fail(ErrorCode::invalid, fmt::format("there is no worker called {}", only));
    std::vector<Partition> out;
    for (const auto& worker : workers) {
        TRY(auto committed,
            context.kafka().committed(context.group_of(worker),
                                      context.catalog().topics_of_worker(worker), k_kafka_timeout));
        for (auto& at : committed) {
            TRY(const auto log,
                context.kafka().watermarks(at.topic, at.partition, k_kafka_timeout));
            const auto lag = log.second - std::max(at.offset, log.first);
            out.push_back({worker, std::move(at), log.second, lag});
        }
    }
    return out;
}

void print_text(const std::vector<Partition>& topics, const postgres::Rows& kinds) {
    fmt::print("{:<28} {:>4} {:>12} {:>12} {:>10}\n", "topic", "part", "end", "committed", "lag");
    for (const auto& p : topics) {
        fmt::print("{:<28} {:>4} {:>12} {:>12} {:>10}\n", p.committed.topic, p.committed.partition,
                   p.end, p.committed.offset < 0 ? "-" : std::to_string(p.committed.offset), p.lag);
    }
    fmt::print("\n{:<28} {:>9} {:>9} {:>9} {:>9}  oldest\n", "kind", "queued", "running", "waiting",
               "parked");
    for (std::size_t r = 0; r < kinds.size(); ++r) {
        const auto row = kinds[r];
        fmt::print("{:<28} {:>9} {:>9} {:>9} {:>9}  {}\n", row.get<std::string>(0),
                   row.get<std::int64_t>(1), row.get<std::int64_t>(2), row.get<std::int64_t>(3),
                   row.get<std::int64_t>(4), age_text(row.get<double>(5)));
    }
    if (kinds.empty()) fmt::print("nothing is unfinished\n");
}

void print_json(const std::vector<Partition>& topics, const postgres::Rows& kinds) {
    json::Array partitions, jobs;
    for (const auto& p : topics) {
        partitions.push_back(
            json::Object{{"worker", p.worker},
                         {"topic", p.committed.topic},
                         {"partition", p.committed.partition},
                         {"end", p.end},
                         {"committed", p.committed.offset < 0 ? json::Value(nullptr)
                                                              : json::Value(p.committed.offset)},
                         {"lag", p.lag}});
    }
    for (std::size_t r = 0; r < kinds.size(); ++r) {
        const auto row = kinds[r];
        jobs.push_back(json::Object{{"kind", row.get<std::string>(0)},
                                    {"queued", row.get<std::int64_t>(1)},
                                    {"running", row.get<std::int64_t>(2)},
                                    {"waiting", row.get<std::int64_t>(3)},
                                    {"parked", row.get<std::int64_t>(4)},
                                    {"oldest_seconds", row.get<double>(5)}});
    }
    fmt::print("{}\n", json::dump(json::Object{{"partitions", std::move(partitions)},
                                               {"kinds", std::move(jobs)}}));
}

Task<Result<void>> lag(Context& context, Options options) {
    for (;;) {
        CO_TRY(const auto topics, partitions(context, options.worker));
        CO_TRY(const auto kinds, co_await context.survey().run(postgres::call(k_unfinished),
                                                               Deadline::in(k_timeout)));
        if (options.watch && !context.json()) fmt::print("\033[H\033[2J");
        context.json() ? print_json(topics, kinds) : print_text(topics, kinds);
        std::fflush(stdout);
        if (!options.watch) co_return Result<void>{};
        co_await async::delay(context.executor(), std::chrono::seconds(options.every));
    }
}

}  // namespace

void add_lag(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = app.add_subcommand("lag", "How far the workers are behind");
    command->add_option("--worker", options->worker, "only this one, such as rag");
    command->add_flag("--watch", options->watch, "again and again, until interrupted");
    command->add_option("--every", options->every, "seconds between two looks [2]")
        ->check(CLI::Range(1, 3600));
    command->callback([&context, &run, options] {
        run = [&context, options] { return lag(context, *options); };
    });
}

}  // namespace millrace::workers::ops
