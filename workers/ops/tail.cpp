// millrace-ops tail: the events of a topic as people read them.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "shared/json/writer.hpp"
#include "workers/ops/command.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr auto k_timeout = 20s;

struct Options {
    std::string topic, from = "end", type, tenant;
    std::int64_t limit = 0;
    bool follow = false, values = false;
};

/// Headers whose text may say what a person wrote.
constexpr std::array<std::string_view, 1> k_personal = {"dead_detail"};

json::Object event_of(const kafka::Record& record, bool values) {
    json::Object headers;
    for (const auto& [name, value] : record.headers) {
        const bool personal = std::ranges::find(k_personal, name) != k_personal.end();
        headers[name] = personal && !values ? masked(value) : json::Value(value);
    }
    return {{"topic", record.position.topic},
            {"partition", record.position.partition},
            {"offset", record.position.offset},
            {"time", base::rfc3339_millis(record.time)},
            {"headers", std::move(headers)},
            {"data", values ? unmasked(record.value) : masked(record.value)}};
}

void print_text(const kafka::Record& record, bool values) {
    const auto or_dash = [&](std::string_view name) {
        const auto value = record.header(name);
        return value.empty() ? std::string_view("-") : value;
    };
    fmt::print("{}  {}[{}]@{}  {}  {}  job {}  tenant {}", base::rfc3339_millis(record.time),
               record.position.topic, record.position.partition, record.position.offset,
               or_dash("ce_type"), or_dash("ce_kind"), or_dash("ce_id"), or_dash("ce_tenant"));
    if (const auto key = record.header("ce_orderkey"); !key.empty()) fmt::print("  key {}", key);
    if (const auto cause = record.header("dead_cause"); !cause.empty()) {
        fmt::print("  dead of {} after {} attempts at {}[{}]@{}", cause, or_dash("dead_attempts"),
                   or_dash("dead_topic"), or_dash("dead_partition"), or_dash("dead_offset"));
    }
    fmt::print("  {}\n", json::dump(values ? unmasked(record.value) : masked(record.value)));
}

/// Where to begin on each partition of a topic.
Result<std::vector<std::int64_t>> begin(Context& context, const kafka::TopicState& topic,
                                        const Options& options) {
    std::int64_t offset = 0;
    const auto& from = options.from;
    const auto [end, ec] = std::from_chars(from.data(), from.data() + from.size(), offset);
    if (from == "beginning" || (ec == std::errc{} && end == from.data() + from.size()))
        return std::vector(static_cast<std::size_t>(topic.partitions), offset);
    if (from == "end") {
        std::vector<std::int64_t> ends;
        for (int p = 0; p < topic.partitions; ++p) {
            TRY(const auto log, context.kafka().watermarks(topic.name, p, k_timeout));
            ends.push_back(log.second);
        }
        return ends;
    }
    TRY(const auto when, parse_when(from));
    return context.reader().offsets_at(topic.name, topic.partitions, when, k_timeout);
}

Result<std::vector<kafka::Range>> ranges_of(Context& context, const Options& options) {
    TRY(const auto present, context.kafka().topics(k_timeout));
    const bool follow = options.follow || options.from == "end";
    std::vector<kafka::Range> ranges;
    for (const auto& topic : present) {
        const bool ours = std::ranges::any_of(context.catalog().topics(),
                                              [&](const auto& t) { return t.name == topic.name; });
        if (options.topic.empty() ? !ours : topic.name != options.topic) continue;
        TRY(const auto firsts, begin(context, topic, options));
        for (int p = 0; p < topic.partitions; ++p) {
            TRY(const auto log, context.kafka().watermarks(topic.name, p, k_timeout));
            ranges.push_back(
                {topic.name, p, firsts[static_cast<std::size_t>(p)], follow ? -1 : log.second});
        }
    }
    if (ranges.empty())
        return fail(ErrorCode::not_found, fmt::format("there is no topic {}", options.topic));
    return ranges;
}

Task<Result<void>> tail(Context& context, Options options) {
    CO_TRY(const auto ranges, ranges_of(context, options));
    std::int64_t shown = 0;
    CO_TRY_VOID(context.reader().read(
        ranges,
        [&](const kafka::Record& record) {
            if (!options.type.empty() && record.header("ce_type") != options.type) return true;
            if (!options.tenant.empty() && record.header("ce_tenant") != options.tenant)
                return true;
            if (context.json()) {
                fmt::print("{}\n", json::dump(event_of(record, options.values)));
            } else {
                print_text(record, options.values);
            }
            std::fflush(stdout);
            return options.limit == 0 || ++shown < options.limit;
        },
        k_timeout));
    co_return Result<void>{};
}

}  // namespace

void add_tail(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = app.add_subcommand("tail", "Events as they stand on the topics, one a line");
    command->add_option("--topic", options->topic, "only this one [all of ours]");
    command->add_option("--from", options->from,
                        "beginning, end (and whatever comes), an offset, a time, or how long ago; "
                        "but for end it stops where the topic ends now [end]");
    command->add_flag("--follow", options->follow, "whatever comes, too");
    command->add_option("--type", options->type,
                        "only this event type, such as millrace.answer.requested.v1");
    command->add_option("--tenant", options->tenant, "only this tenant's");
    command->add_option("--limit", options->limit, "at most this many events")
        ->check(CLI::Range(1, 1'000'000'000));
    command->add_flag("--values", options->values,
                      "show texts as they are; else only how long they are");
    command->callback([&context, &run, options] {
        run = [&context, options] { return tail(context, *options); };
    });
}

}  // namespace millrace::workers::ops
