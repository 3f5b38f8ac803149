#include "workers/ops/replay_diff.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/domain/jobs/job.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr auto k_timeout = 60s;
constexpr std::int64_t k_page = 500;
constexpr std::size_t k_paths_max = 20;  // of one job

// (copy, old job, kind, old status and result, new ones). An attempt that never came to a result of
// its handler stands only in the job's row.
const postgres::Statement k_pairs{"replay_pairs", R"sql(
SELECT r.job_id, j.replay_of, j.kind, old.status::text, old.result, coalesce(res.outcome, j.status)::text, coalesce(res.result, j.result)
  FROM replay_jobs r JOIN jobs j ON j.id = r.job_id
  LEFT JOIN jobs old ON old.id = j.replay_of LEFT JOIN replay_results res ON res.run = r.run AND res.job_id = j.replay_of
 WHERE r.run = $1 AND r.job_id > $2 ORDER BY r.job_id LIMIT $3)sql"};

struct Options {
    std::string run;
    std::vector<std::string> ignore;
    std::size_t limit = 20;
    bool values = false;
};

/// One path at which two results differ.
struct Difference {
    std::string path;
    json::Value before, after;
};

class Differ {
 public:
    explicit Differ(const std::vector<std::string>& ignore) : ignore_(ignore) {}

    std::vector<Difference> compare(const json::Value& before, const json::Value& after) {
        found_.clear();
        walk("", before, after);
        return std::move(found_);
    }

 private:
    void walk(const std::string& path, const json::Value& before, const json::Value& after) {
        if (before == after || found_.size() == k_paths_max ||
            std::ranges::find(ignore_, path) != ignore_.end())
            return;
        if (before.is_object() && after.is_object()) {
            members(path, before.get_object(), after.get_object());
        } else if (before.is_array() && after.is_array() &&
                   before.get_array().size() == after.get_array().size()) {
            for (std::size_t i = 0; i < before.get_array().size(); ++i)
                walk(fmt::format("{}[{}]", path, i), before.get_array()[i], after.get_array()[i]);
        } else {
            found_.push_back({path, before, after});
        }
    }

    void members(const std::string& path, const json::Object& before, const json::Object& after) {
        const json::Value absent;
        const auto inner = [&](std::string_view name) {
            return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
        };
        for (const auto& [name, value] : before) {
            const auto* other = after.if_contains(name);
            walk(inner({name.data(), name.size()}), value, other ? *other : absent);
        }
        for (const auto& [name, value] : after) {
            if (!before.contains(name)) walk(inner({name.data(), name.size()}), absent, value);
        }
    }

    const std::vector<std::string>& ignore_;
    std::vector<Difference> found_;
};

struct Tally {
    std::int64_t jobs = 0, same = 0, outcome = 0, result = 0, pending = 0, gone = 0;
    json::Array shown;
};

json::Value shown_value(const json::Value& value, bool values) {
    return values ? value : masked(json::dump(value));
}

void look_at(const postgres::Row& row, const Options& options, Tally& tally) {
    ++tally.jobs;
    const auto before = row.get<std::optional<std::string>>(3);
    const auto after = row.get<std::string>(5);
    if (!domain::jobs::is_final(domain::jobs::parse_status(after))) {
        ++tally.pending;
        return;
    }
    if (!before) {
        ++tally.gone;
        return;
    }
    Differ differ(options.ignore);
    const auto differences =
        differ.compare(unmasked(row.get<std::optional<std::string>>(4).value_or("")),
                       unmasked(row.get<std::optional<std::string>>(6).value_or("")));
    if (*before == after && differences.empty()) {
        ++tally.same;
        return;
    }
    ++(*before == after ? tally.result : tally.outcome);
    if (tally.shown.size() == options.limit) return;
    json::Array paths;
    for (const auto& [path, was, is] : differences) {
        paths.push_back(json::Object{{"path", path},
                                     {"before", shown_value(was, options.values)},
                                     {"after", shown_value(is, options.values)}});
    }
    tally.shown.push_back(json::Object{{"job_id", row.get<base::Uuid>(1).str()},
                                       {"replayed_as", row.get<base::Uuid>(0).str()},
                                       {"kind", row.get<std::string>(2)},
                                       {"before", *before},
                                       {"after", after},
                                       {"differences", std::move(paths)}});
}

void print_text(const Tally& tally) {
    for (const auto& each : tally.shown) {
        const auto& job = each.as_object();
        fmt::print("{}  {}  {} -> {}\n", job.at("job_id").as_string().c_str(),
                   job.at("kind").as_string().c_str(), job.at("before").as_string().c_str(),
                   job.at("after").as_string().c_str());
        for (const auto& path : job.at("differences").as_array()) {
            const auto& d = path.as_object();
            fmt::print("  {}: {} -> {}\n", d.at("path").as_string().c_str(),
                       json::dump(d.at("before")), json::dump(d.at("after")));
        }
    }
    fmt::print(
        "{} jobs: {} the same, {} with another outcome, {} with another result, {} not ended "
        "yet, {} whose old job is gone\n",
        tally.jobs, tally.same, tally.outcome, tally.result, tally.pending, tally.gone);
}

Task<Result<void>> diff(Context& context, Options options) {
    const auto run = base::Uuid::parse(options.run);
    if (!run) co_return fail(ErrorCode::invalid, "the run is the id that replay has printed");
    Tally tally;
    for (base::Uuid after;;) {
        CO_TRY(const auto rows,
               co_await context.pipeline().run(postgres::call(k_pairs, *run, after, k_page),
                                               Deadline::in(k_timeout)));
        for (std::size_t r = 0; r < rows.size(); ++r) {
            look_at(rows[r], options, tally);
            after = rows[r].get<base::Uuid>(0);
        }
        if (rows.size() < static_cast<std::size_t>(k_page)) break;
    }
    if (tally.jobs == 0) co_return fail(ErrorCode::not_found, "that run has made no jobs");
    if (context.json()) {
        fmt::print("{}\n", json::dump(json::Object{{"run", options.run},
                                                   {"jobs", tally.jobs},
                                                   {"same", tally.same},
                                                   {"outcome_changed", tally.outcome},
                                                   {"result_changed", tally.result},
                                                   {"pending", tally.pending},
                                                   {"gone", tally.gone},
                                                   {"changes", std::move(tally.shown)}}));
    } else {
        print_text(tally);
    }
    co_return Result<void>{};
}

}  // namespace

CLI::App* add_replay_diff(CLI::App& replay, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = replay.add_subcommand("diff", "What a run of --shadow or --force would change");
    command->add_option("run", options->run, "the id that replay has printed")->required();
    command->add_option("--ignore", options->ignore,
                        "a path that may differ, such as metadata.latency_ms; may be repeated");
    command->add_option("--limit", options->limit, "show at most this many jobs [20]")
        ->check(CLI::Range(0, 100'000));
    command->add_flag("--values", options->values,
                      "show texts as they are; else only how long they are");
    command->callback([&context, &run, options] {
        run = [&context, options] { return diff(context, *options); };
    });
    return command;
}

}  // namespace millrace::workers::ops
