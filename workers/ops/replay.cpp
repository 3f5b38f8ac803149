// millrace-ops replay: a window of what happened, once more, for one worker.
//
//   again (default)  failed and dead jobs go round again, queued ones are announced once more;
//                    what has succeeded, was cancelled or is under way is left alone
//   --force          what has succeeded is repeated as a new job; the rest as above
//   --shadow         whatever has ended (but for cancelled) is repeated without effects

#include <fmt/format.h>

#include <algorithm>

#include "workers/ops/audit.hpp"
#include "workers/ops/replay_diff.hpp"
#include "workers/ops/replay_window.hpp"
#include "workers/ops/send.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;
namespace jobs = domain::jobs;
using jobs::Status;

namespace {

constexpr auto k_timeout = 30s;
constexpr std::size_t k_page = 1000;
constexpr int k_tries = 5;
constexpr auto k_pause = 200ms;
constexpr auto k_busy_max = 15s;

const postgres::Statement k_sent_again{
    "replay_letters_sent",
    "UPDATE dead_letters SET redriven_at = now() WHERE id = ANY ($1::uuid[])"};

enum class Deed : std::uint8_t { again, announce, repeat };

struct Planned {
    base::Uuid id;
    std::int64_t seq = 0;
    Deed deed = Deed::again;
};

struct Plan {
    std::vector<Planned> jobs;
    std::map<std::string, std::int64_t> kinds;    ///< of those that will run
    std::map<std::string, std::int64_t> skipped;  ///< why -> how many
    std::array<std::int64_t, 3> deeds{};
};

/// What to do with a job of the window, or why nothing.
std::variant<Deed, std::string_view> decide(const jobs::Candidate& job,
                                            const ReplayOptions& options) {
    if (job.shadow) return "made for a comparison";
    switch (job.status) {
        case Status::succeeded:
            if (options.force || options.shadow) return Deed::repeat;
            return "succeeded";
        case Status::failed:
        case Status::dead:
            return options.shadow ? Deed::repeat : Deed::again;
        case Status::cancelled:
            return "cancelled";
        case Status::queued:
            if (!options.shadow) return Deed::announce;
            return "under way";
        case Status::waiting:
        case Status::parked:
        case Status::running:
            break;
    }
    return "under way";
}

Task<Result<Plan>> make_plan(Context& context, const ReplayOptions& options, const Window& window) {
    jobs::Replay replay(context.survey(), context.catalog(), "");
    Plan plan;
    std::size_t found = 0;
    for (std::size_t done = 0; done < window.jobs.size(); done += k_page) {
        const auto first = window.jobs.begin() + static_cast<std::ptrdiff_t>(done);
        const auto size = std::min(k_page, window.jobs.size() - done);
        std::vector<base::Uuid> page(first, first + static_cast<std::ptrdiff_t>(size));
        CO_TRY(const auto candidates,
               co_await replay.find(std::move(page), Deadline::in(k_timeout)));
        found += candidates.size();
        for (const auto& job : candidates) {
            const auto decided = decide(job, options);
            if (const auto* why = std::get_if<std::string_view>(&decided)) {
                ++plan.skipped[std::string(*why)];
                continue;
            }
            const auto deed = std::get<Deed>(decided);
            plan.jobs.push_back({job.id.uuid, job.seq, deed});
            ++plan.kinds[job.kind];
            ++plan.deeds[static_cast<std::size_t>(deed)];
        }
    }
    if (found < window.jobs.size())
        plan.skipped["no longer in the database"] =
            static_cast<std::int64_t>(window.jobs.size() - found);
    std::ranges::sort(plan.jobs, {}, &Planned::seq);
    co_return plan;
}

json::Object preview_json(const Window& window, const Plan& plan, const Estimate& cost) {
    json::Object skipped;
    for (const auto& [why, count] : plan.skipped) skipped[why] = count;
    return {{"records", window.records},
            {"filtered", window.filtered},
            {"undecodable", window.undecodable},
            {"expired", window.expired},
            {"jobs", window.jobs.size()},
            {"skipped", std::move(skipped)},
            {"again", plan.deeds[0]},
            {"announce", plan.deeds[1]},
            {"repeat", plan.deeds[2]},
            {"copy", window.raw.size()},
            {"estimate", cost.to_json()}};
}

void print_preview(const ReplayOptions& options, const Window& window, const Plan& plan,
                   const Estimate& cost) {
    fmt::print("{} {} name {} jobs ({} of another type or tenant, {} undecodable, {} expired)\n",
               window.records, options.dead_letters ? "dead letters" : "records",
               window.jobs.size(), window.filtered, window.undecodable, window.expired);
    for (const auto& [why, count] : plan.skipped) fmt::print("  left alone: {} {}\n", count, why);
    fmt::print(
        "to do for {} ({}): {} again, {} announced once more, {} repeated, {} copied as "
        "they are; about ${:.4f}\n",
        options.worker, options.mode(), plan.deeds[0], plan.deeds[1], plan.deeds[2],
        window.raw.size(), cost.cost_usd());
    cost.print();
}

/// The deeds, batch by batch, in the order in which the jobs were accepted.
class Run {
 public:
    Run(Context& context, const ReplayOptions& options, Acting& acting, base::Uuid run)
        : context_(context),
          options_(options),
          acting_(acting),
          run_(run),
          replay_(context.pipeline(), context.catalog(), acting.actor),
          sender_(context, replay_),
          pace_(context.executor(), options.rate) {}

    Task<Result<void>> all(const Plan& plan, const Window& window) {
        const auto total = plan.jobs.size() + window.raw.size();
        const Progress progress(total);
        Result<void> ended;
        for (std::size_t done = 0; ended && done < plan.jobs.size();) {
            const auto size = std::min(pace_.batch(), plan.jobs.size() - done);
            ended = co_await batch({plan.jobs.data() + done, size});
            done += size;
            progress.show(done, done == total);
            co_await pace_.sent(size);
        }
        if (ended && !window.raw.empty()) ended = co_await copy(window);
        if (!window.raw.empty()) progress.show(total, true);
        count();
        CO_TRY_VOID(std::move(ended));
        co_return check_total();
    }

 private:
    Task<Result<void>> batch(std::span<const Planned> planned) {
        std::vector<base::Uuid> again, announce;
        std::vector<jobs::Replay::Pair> repeat;
        for (const auto& job : planned) {
            if (job.deed == Deed::again) again.push_back(job.id);
            if (job.deed == Deed::announce) announce.push_back(job.id);
            if (job.deed == Deed::repeat) repeat.push_back({base::uuid_v7(), job.id});
        }
        if (!again.empty()) CO_TRY_VOID(co_await send_again(std::move(again)));
        if (!announce.empty()) CO_TRY_VOID(co_await send(std::move(announce), {}));
        if (!repeat.empty()) CO_TRY_VOID(co_await send_repeated(std::move(repeat)));
        co_return Result<void>{};
    }

    Task<Result<void>> send(std::vector<base::Uuid> ids, base::Uuid outbox) {
        const auto asked = static_cast<std::int64_t>(ids.size());
        CO_TRY(const auto sent, co_await sender_.jobs(std::move(ids), outbox, jobs::k_replay_lane));
        moved_on_ += asked - sent.produced;
        co_return Result<void>{};
    }

    Task<Result<void>> send_again(std::vector<base::Uuid> ids) {
        const auto patience = Deadline::in(k_busy_max);
        for (;;) {
            const auto outbox = base::uuid_v7();
            CO_TRY(const auto done, co_await replay_.redrive(std::move(ids), jobs::k_replay_lane,
                                                             outbox, Deadline::in(k_timeout)));
            std::vector<base::Uuid> queued;
            ids = {};
            for (const auto& [id, outcome] : done) {
                if (outcome == jobs::Redriven::queued) {
                    queued.push_back(id.uuid);
                } else if (outcome == jobs::Redriven::busy) {
                    ids.push_back(id.uuid);
                } else {
                    ++moved_on_;
                }
            }
            if (!queued.empty()) CO_TRY_VOID(co_await send(std::move(queued), outbox));
            if (ids.empty() || patience.passed()) break;
            co_await async::delay(context_.executor(), k_pause);
        }
        busy_ += static_cast<std::int64_t>(ids.size());
        co_return Result<void>{};
    }

    Task<Result<void>> send_repeated(std::vector<jobs::Replay::Pair> pairs) {
        const auto outbox = base::uuid_v7();
        const jobs::Replay::Mode mode{run_, options_.shadow, options_.repeat_effects};
        for (int tries = 1;; ++tries) {  // the same ids each time: it may have committed
            const auto made = co_await replay_.repeat(pairs, mode, outbox, acting_.trace,
                                                      Deadline::in(k_timeout));
            if (made) break;
            if (tries == k_tries || !base::is_transient(made.error().code))
                co_return std::unexpected(made.error());
            co_await async::delay(context_.executor(), k_pause);
        }
        std::vector<base::Uuid> ids;
        for (const auto& pair : pairs) ids.push_back(pair.copy);
        co_return co_await send(std::move(ids), outbox);
    }

    Task<Result<void>> copy(const Window& window) {
        const auto* topic = replay_topic();
        for (std::size_t done = 0; done < window.raw.size();) {
            const auto size = std::min(pace_.batch(), window.raw.size() - done);
            const auto at = static_cast<std::ptrdiff_t>(done);
            const auto to = at + static_cast<std::ptrdiff_t>(size);
            std::vector<kafka::Record> records(window.raw.begin() + at, window.raw.begin() + to);
            const auto sent = co_await sender_.copy(std::move(records), topic->name);
            if (sent.confirmed < sent.produced)
                co_return fail(ErrorCode::unavailable, "the broker did not confirm every copy");
            std::vector<base::Uuid> letters(window.raw_letters.begin() + at,
                                            window.raw_letters.begin() + to);
            CO_TRY_VOID(co_await context_.pipeline().run(postgres::call(k_sent_again, letters),
                                                         Deadline::in(k_timeout)));
            done += size;
            co_await pace_.sent(size);
        }
        co_return Result<void>{};
    }

    [[nodiscard]] const events::Topic* replay_topic() const {
        for (const auto& topic : context_.catalog().topics()) {
            if (topic.worker == options_.worker && topic.lane == jobs::k_replay_lane) return &topic;
        }
        check(false, "check_options has looked for it");
        return nullptr;
    }

    void count() {
        acting_.counts = {{"run", run_.str()},
                          {"produced", sender_.total().produced},
                          {"confirmed", sender_.total().confirmed},
                          {"moved_on", moved_on_},
                          {"busy", busy_}};
    }

    Result<void> check_total() {
        TRY(const auto found, sender_.found());
        acting_.counts["found"] = found;
        const auto& total = sender_.total();
        if (total.produced == total.confirmed && total.confirmed == found) return {};
        return fail(ErrorCode::unavailable,
                    fmt::format("{} records were produced, {} confirmed, {} found on the topic: "
                                "the scheduler publishes what is missing",
                                total.produced, total.confirmed, found));
    }

    Context& context_;
    const ReplayOptions& options_;
    Acting& acting_;
    base::Uuid run_;
    jobs::Replay replay_;
    Sender sender_;
    Pace pace_;
    std::int64_t moved_on_ = 0, busy_ = 0;
};

Task<Result<void>> perform(Context& context, const ReplayOptions& options, const Plan& plan,
                           const Window& window, base::Uuid run, Acting& acting) {
    Run work(context, options, acting, run);
    co_return co_await work.all(plan, window);
}

json::Object arguments_of(const ReplayOptions& options) {
    json::Object out{{"worker", options.worker}, {"mode", options.mode()}, {"rate", options.rate}};
    if (!options.topic.empty()) out["topic"] = options.topic;
    if (!options.offsets.empty()) out["offsets"] = options.offsets;
    if (options.partition >= 0) out["partition"] = options.partition;
    if (options.from) out["from"] = *options.from;
    if (options.until) out["until"] = *options.until;
    if (options.type) out["type"] = *options.type;
    if (options.tenant) out["tenant"] = *options.tenant;
    if (options.cause) out["cause"] = *options.cause;
    if (options.dead_letters) out["dead_letters"] = true;
    if (options.repeat_effects) out["repeat_effects"] = true;
    return out;
}

Task<Result<void>> replay(Context& context, ReplayOptions options) {
    CO_TRY_VOID(check_options(context.catalog(), options));
    CO_TRY(const auto window, co_await find_window(context, options));
    CO_TRY(const auto plan, co_await make_plan(context, options, window));
    CO_TRY(const auto cost, co_await estimate(context, plan.kinds));
    if (!context.json()) print_preview(options, window, plan, cost);
    const auto run = base::uuid_v7();
    json::Object out{{"worker", options.worker},
                     {"mode", options.mode()},
                     {"preview", preview_json(window, plan, cost)}};
    const bool nothing = plan.jobs.empty() && window.raw.empty();
    if (!options.dry_run && !nothing && !options.yes && !context.json() && !confirmed("go on?"))
        options.dry_run = true;
    if (!options.dry_run && !nothing) {
        CO_TRY(auto counts,
               co_await audited(context, "replay", arguments_of(options), [&](Acting& acting) {
                   return perform(context, options, plan, window, run, acting);
               }));
        if (!context.json()) {
            fmt::print(
                "run {}: {} produced, {} confirmed, {} found on the topic; {} had moved on, "
                "{} busy\n",
                run.str(), counts["produced"].as_int64(), counts["confirmed"].as_int64(),
                counts["found"].as_int64(), counts["moved_on"].as_int64(),
                counts["busy"].as_int64());
        }
        out["run"] = run.str();
        out["done"] = std::move(counts);
    } else if (!context.json()) {
        fmt::print("nothing was done\n");
    }
    if (context.json()) fmt::print("{}\n", json::dump(out));
    co_return Result<void>{};
}

}  // namespace

void add_replay(CLI::App& app, Context& context, ops::Run& run) {
    auto options = std::make_shared<ReplayOptions>();
    auto* command = app.add_subcommand(
        "replay", "Send what happened through a worker once more; previews first, --dry-run only");
    command->add_option("--worker", options->worker, "who does it, such as rag");
    command->add_option("--from", options->from,
                        "published (dead letters: buried) then or later: a time, or how long ago");
    command->add_option("--until", options->until, "published before then [now]");
    command->add_option("--topic", options->topic, "only what stands on this topic");
    command->add_option("--partition", options->partition, "only this partition")
        ->check(CLI::Range(0, 999));
    command->add_option("--offsets", options->offsets, "A-B, both included");
    command->add_option("--type", options->type, "only this event type");
    command->add_option("--tenant", options->tenant, "only this tenant's");
    command->add_flag("--dead-letters", options->dead_letters, "open dead letters");
    command->add_option("--cause", options->cause,
                        "of dead letters: attempts, crashed, orphan, undecodable, …");
    command->add_flag("--force", options->force, "repeat what has succeeded, too, as new jobs");
    command->add_flag("--repeat-effects", options->repeat_effects,
                      "with --force: mail, charge and call again, too");
    command->add_flag("--shadow", options->shadow, "without effects; see replay diff");
    command->add_option("--rate", options->rate, "at most this many per second, 0: no cap [200]")
        ->check(CLI::Range(0, 100'000));
    command->add_flag("--dry-run", options->dry_run, "only say what would be done");
    command->add_flag("--yes", options->yes, "do not ask at the terminal");
    auto* diff = add_replay_diff(*command, context, run);
    command->callback([&context, &run, options, diff] {
        if (!diff->parsed()) run = [&context, options] { return replay(context, *options); };
    });
}

}  // namespace millrace::workers::ops
