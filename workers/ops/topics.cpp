// millrace-ops topics apply | list.

#include <fmt/format.h>

#include <algorithm>

#include "workers/ops/audit.hpp"

namespace millrace::workers::ops {

namespace {

constexpr auto k_timeout = std::chrono::seconds(20);

/// What is to be made, and what is to grow.
struct Plan {
    std::vector<kafka::TopicSpec> missing;
    std::vector<const events::Topic*> small;
};

Task<Result<void>> make(Context& context, const Plan& plan, Acting& acting) {
    auto& kafka = context.kafka();
    json::Array created, grown;
    for (const auto& topic : plan.missing) created.push_back(json::Value(topic.name));
    for (const auto* topic : plan.small) {
        CO_TRY_VOID(kafka.add_partitions(topic->name, topic->partitions, k_timeout));
        grown.push_back(json::Value(topic->name));
    }
    acting.counts["grown"] = std::move(grown);
    if (!plan.missing.empty()) CO_TRY_VOID(kafka.create(plan.missing, k_timeout));
    acting.counts["created"] = std::move(created);
    co_return Result<void>{};
}

Task<Result<void>> apply(Context& context) {
    CO_TRY(const auto present, context.kafka().topics(k_timeout));
    Plan plan;
    for (const auto& topic : context.catalog().topics()) {
        const auto found = std::ranges::find(present, topic.name, &kafka::TopicState::name);
        if (found == present.end()) {
            plan.missing.push_back(
                {.name = topic.name,
                 .partitions = topic.partitions,
                 .config = {{"retention.ms", std::to_string(topic.retention.count())}}});
        } else if (found->partitions < topic.partitions) {
            plan.small.push_back(&topic);
        }
    }
    const bool nothing = plan.missing.empty() && plan.small.empty();
    if (!nothing) {
        CO_TRY_VOID(co_await audited(
            context, "topics apply", {},
            [&context, &plan](Acting& acting) { return make(context, plan, acting); }));
    }
    if (context.json()) {
        fmt::print("{}\n", json::dump(json::Object{{"created", plan.missing.size()},
                                                   {"grown", plan.small.size()}}));
    } else {
        for (const auto& topic : plan.missing)
            fmt::print("created {} with {} partition(s)\n", topic.name, topic.partitions);
        if (nothing) fmt::print("all {} topics are there\n", context.catalog().topics().size());
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
