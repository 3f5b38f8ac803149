#include "shared/events/catalog.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <fstream>
#include <sstream>

#include "shared/events/embedded_catalog.hpp"

namespace millrace::events {

namespace {

/// Reads the rows of one section, remembering every problem instead of the first.
class Rows {
 public:
    explicit Rows(std::vector<std::string>& problems) : problems_(problems) {}

    std::string text(const YAML::Node& row, const char* key, bool required = true) {
        if (row[key] && row[key].IsScalar()) return row[key].as<std::string>();
        if (required) problem(row, fmt::format("{} is missing", key));
        return {};
    }
    bool flag(const YAML::Node& row, const char* key) {
        const auto value = text(row, key, false);
        if (!value.empty() && value != "yes" && value != "no")
            problem(row, fmt::format("{} must be yes or no", key));
        return value == "yes";
    }
    std::chrono::milliseconds span(const YAML::Node& row, const std::string& value) {
        auto parsed = parse_span(value);
        if (!parsed) problem(row, parsed.error().detail);
        return parsed.value_or(std::chrono::milliseconds{});
    }
    void problem(const YAML::Node& row, std::string what) {
        problems_.push_back(fmt::format("line {}: {}", row.Mark().line + 1, what));
    }

 private:
    std::vector<std::string>& problems_;
};

Topic topic_row(const YAML::Node& row, std::string_view suffix, Rows& rows) {
    Topic topic{.name = rows.text(row, "name") + std::string(suffix),
                .worker = rows.text(row, "worker", false),
                .lane = rows.text(row, "lane", false)};
    topic.retention = rows.span(row, rows.text(row, "retention"));
    const auto partitions = rows.text(row, "partitions");
    std::from_chars(partitions.data(), partitions.data() + partitions.size(), topic.partitions);
    if (topic.partitions < 1 || topic.partitions > 1000)
        rows.problem(row, "partitions must be 1 to 1000");
    return topic;
}

Kind kind_row(const YAML::Node& row, Rows& rows) {
    Kind kind{.name = rows.text(row, "kind"),
              .event = rows.text(row, "event"),
              .worker = rows.text(row, "worker")};
    kind.ordered = rows.text(row, "key") == "order";
    kind.dead_blocks = rows.flag(row, "dead_blocks");
    kind.discard_idle = rows.flag(row, "discard_idle");
    kind.timeout = rows.span(row, rows.text(row, "timeout"));
    const auto open = rows.text(row, "open");
    kind.open = open == "yes" ? Open::yes : open == "probe" ? Open::probe : Open::no;
    for (const auto& wait : row["retry"])
        kind.retry.push_back(rows.span(row, wait.as<std::string>()));
    return kind;
}

}  // namespace

Result<std::chrono::milliseconds> parse_span(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    if (ec == std::errc{} && number >= 0 && number < 1'000'000) {
        if (unit == "ms") return std::chrono::milliseconds(number);
        if (unit == "s") return std::chrono::seconds(number);
        if (unit == "m") return std::chrono::minutes(number);
        if (unit == "h") return std::chrono::hours(number);
        if (unit == "d") return std::chrono::days(number);
    }
    return fail(ErrorCode::invalid,
                fmt::format("'{}' is not a time span such as 250ms, 5s, 10m, 24h or 7d", text));
}

Result<Catalog> Catalog::parse(std::string_view yaml, std::string_view suffix) {
    Catalog out;
    std::vector<std::string> problems;
    Rows rows(problems);
    try {
        const auto root = YAML::Load(std::string(yaml));
        for (const auto& row : root["topics"]) {
            out.topics_.push_back(topic_row(row, suffix, rows));
            if (out.topics_.back().worker.empty()) out.dead_letters_ = out.topics_.back().name;
        }
        for (const auto& row : root["kinds"]) {
            auto kind = kind_row(row, rows);
            if (!out.topic_of(kind, "interactive"))
                rows.problem(row, "its worker has no interactive topic");
            if (!out.kinds_.emplace(kind.name, kind).second)
                rows.problem(row, "the kind is listed twice");
        }
    } catch (const YAML::Exception& e) {
        problems.emplace_back(e.what());
    }
    if (out.dead_letters_.empty())
        problems.emplace_back("no topic without a worker: dead letters have no home");
    if (!problems.empty()) {
        return fail(ErrorCode::invalid, fmt::format("topics.yaml: {}", fmt::join(problems, "; ")));
    }
    return out;
}

Result<Catalog> Catalog::load(const std::string& override_path, std::string_view suffix) {
    if (override_path.empty()) return parse(k_embedded_catalog, suffix);
    std::ifstream file(override_path);
    std::ostringstream text;
    if (!file || !(text << file.rdbuf())) {
        return fail(ErrorCode::invalid,
                    fmt::format("cannot read the topics file {}", override_path));
    }
    return parse(text.str(), suffix);
}

const Kind* Catalog::kind(std::string_view name) const noexcept {
    const auto found = kinds_.find(name);
    return found == kinds_.end() ? nullptr : &found->second;
}

const Topic* Catalog::topic_of(const Kind& kind, std::string_view lane) const noexcept {
    for (const auto& topic : topics_) {
        if (topic.worker == kind.worker && topic.lane == lane) return &topic;
    }
    return nullptr;
}

std::vector<std::string> Catalog::topics_of_worker(std::string_view worker) const {
    std::vector<std::string> names;
    for (const auto& topic : topics_) {
        if (topic.worker == worker) names.push_back(topic.name);
    }
    return names;
}

}  // namespace millrace::events
