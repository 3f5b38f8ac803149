// millrace-ops topics apply | list.

#include <fmt/format.h>

#include <algorithm>

#include "shared/json/writer.hpp"
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::seconds(20);

Task<Result<void>> apply(Context& context) {
    auto& kafka = context.kafka();
    CO_TRY(const auto present, kafka.topics(k_timeout));
    std::vector<kafka::TopicSpec> missing;
    int grown = 0;
    for (const auto& topic : context.catalog().topics()) {
        const auto found = std::ranges::find(present, topic.name, &kafka::TopicState::name);
        if (found == present.end()) {
            missing.push_back(
                {.name = topic.name,
                 .partitions = topic.partitions,
                 .config = {{"retention.ms", std::to_string(topic.retention.count())}}});
        } else if (found->partitions < topic.partitions) {
            CO_TRY_VOID(kafka.add_partitions(topic.name, topic.partitions, k_timeout));
            ++grown;
        }
    }
    if (!missing.empty()) CO_TRY_VOID(kafka.create(missing, k_timeout));
    if (context.json()) {
        fmt::print("{}\n", json::dump(json::Object{{"created", missing.size()}, {"grown", grown}}));
    } else {
        for (const auto& topic : missing)
            fmt::print("created {} with {} partition(s)\n", topic.name, topic.partitions);
        if (missing.empty() && grown == 0)
            fmt::print("all {} topics are there\n", context.catalog().topics().size());
    }
    co_return Result<void>{};
}

Task<Result<void>> list(Context& context) {
    CO_TRY(const auto present, context.kafka().topics(k_timeout));
    json::Array rows;
    for (const auto& topic : context.catalog().topics()) {
        const auto found = std::ranges::find(present, topic.name, &kafka::TopicState::name);
        const bool there = found != present.end();
        rows.push_back(json::Object{{"name", topic.name},
                                    {"worker", topic.worker},
                                    {"lane", topic.lane},
                                    {"declared_partitions", topic.partitions},
                                    {"partitions", there ? found->partitions : 0},
                                    {"records", there ? found->records : 0}});
        if (!context.json()) {
            fmt::print("{:<24} {:<10} {:<12} {:>3} of {} partitions  {:>10} records\n", topic.name,
                       topic.worker, topic.lane, there ? found->partitions : 0, topic.partitions,
                       there ? found->records : 0);
        }
    }
    if (context.json()) fmt::print("{}\n", json::dump(rows));
    co_return Result<void>{};
}

}  // namespace

void add_topics(CLI::App& app, Context& context, Run& run) {
    auto* topics = app.add_subcommand("topics", "Kafka topics as declared in schemas/topics.yaml")
                       ->require_subcommand(1);
    topics
        ->add_subcommand("apply", "Create what is missing, add partitions where more are declared")
        ->callback([&] { run = [&context] { return apply(context); }; });
    topics->add_subcommand("list", "Declared topics beside what the broker has")->callback([&] {
        run = [&context] { return list(context); };
    });
}

}  // namespace millrace::workers::ops
