#include "workers/ops/replay_window.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_set>

#include "shared/events/cloud_event.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr auto k_timeout = 30s;
constexpr auto k_survey_timeout = 10min;

// (letter, job if it is dead because of it, where its record stands). $1 cause, $2 tenant, $3 and
// $4 the time of the letter, $5 kinds, $6 topics of the worker.
const postgres::Statement k_letters{"replay_letters", R"sql(
SELECT d.id, j.id, d.topic, d.partition, d."offset"
  FROM dead_letters d LEFT JOIN jobs j ON j.id = d.job_id AND j.status = 'dead'
 WHERE d.redriven_at IS NULL AND ($1::text IS NULL OR d.cause = $1) AND ($2::uuid IS NULL OR d.tenant_id = $2)
   AND ($3::timestamptz IS NULL OR d.created_at >= $3) AND ($4::timestamptz IS NULL OR d.created_at < $4)
   AND (d.kind = ANY ($5::text[]) OR (d.kind IS NULL AND d.topic = ANY ($6::text[])))
 ORDER BY d.created_at)sql"};

Result<std::pair<std::int64_t, std::int64_t>> parse_offsets(std::string_view text) {
    std::int64_t first = -1, last = -1;
    const auto* end = text.data() + text.size();
    const auto [dash, bad] = std::from_chars(text.data(), end, first);
    if (bad == std::errc{} && dash != end && *dash == '-') {
        const auto [stop, worse] = std::from_chars(dash + 1, end, last);
        if (worse == std::errc{} && stop == end && first >= 0 && last >= first)
            return std::pair(first, last);
    }
    return fail(ErrorCode::invalid, "--offsets must be two offsets such as 100-199, both included");
}

Result<std::vector<kafka::Range>> ranges_by_time(Context& context, const ReplayOptions& options) {
    TRY(const auto from, parse_when(*options.from));
    TRY(const auto until, parse_when(options.until.value_or("0s")));
    if (until < from) return fail(ErrorCode::invalid, "--until is before --from");
    std::vector<kafka::Range> ranges;
    for (const auto& topic : context.catalog().topics()) {
        if (topic.worker != options.worker) continue;
        // What operators have replayed is not part of what happened, unless they ask for it.
        if (options.topic.empty() ? topic.lane == "replay" : topic.name != options.topic) continue;
        TRY(const auto firsts,
            context.reader().offsets_at(topic.name, topic.partitions, from, k_timeout));
        TRY(const auto ends,
            context.reader().offsets_at(topic.name, topic.partitions, until, k_timeout));
        for (int p = 0; p < topic.partitions; ++p) {
            if (options.partition >= 0 && p != options.partition) continue;
            const auto i = static_cast<std::size_t>(p);
            ranges.push_back({topic.name, p, firsts[i], ends[i]});
        }
    }
    return ranges;
}

Task<Result<Window>> from_log(Context& context, const ReplayOptions& options) {
    std::vector<kafka::Range> ranges;
    if (options.offsets.empty()) {
        CO_TRY(ranges, ranges_by_time(context, options));
    } else {
        CO_TRY(const auto offsets, parse_offsets(options.offsets));
        ranges.push_back({options.topic, options.partition, offsets.first, offsets.second + 1});
    }
    Window window;
    std::unordered_set<base::Uuid> seen;
    CO_TRY_VOID(context.reader().read(
        std::move(ranges),
        [&](kafka::Record record) {
            ++window.records;
            if ((options.type && record.header("ce_type") != *options.type) ||
                (options.tenant && record.header("ce_tenant") != *options.tenant)) {
                ++window.filtered;
                return true;
            }
            const auto decoded = events::decode(record.headers, record.value, record.has_value);
            if (!decoded) {
                ++window.undecodable;
            } else if (seen.insert(decoded->id.uuid).second) {
                window.jobs.push_back(decoded->id.uuid);
            }
            return true;
        },
        k_timeout));
    co_return window;
}

using Places = std::map<std::pair<std::string, std::int32_t>, std::map<std::int64_t, base::Uuid>>;

/// The records behind letters that are no dead job.
Result<void> fetch_raw(Context& context, const Places& places, Window& window) {
    std::vector<kafka::Range> ranges;
    std::size_t wanted = 0;
    for (const auto& [where, letters] : places) {
        ranges.push_back(
            {where.first, where.second, letters.begin()->first, letters.rbegin()->first + 1});
        wanted += letters.size();
    }
    TRY_VOID(context.reader().read(
        std::move(ranges),
        [&](kafka::Record record) {
            const auto& letters = places.at({record.position.topic, record.position.partition});
            const auto letter = letters.find(record.position.offset);
            if (letter == letters.end()) return true;
            window.raw.push_back(std::move(record));
            window.raw_letters.push_back(letter->second);
            return true;
        },
        k_timeout));
    window.expired = static_cast<std::int64_t>(wanted - window.raw.size());
    return {};
}

Task<Result<Window>> from_letters(Context& context, const ReplayOptions& options) {
    std::optional<base::WallTime> from, until;
    if (options.from) {
        CO_TRY(from, parse_when(*options.from));
    }
    if (options.until) {
        CO_TRY(until, parse_when(*options.until));
    }
    const auto tenant =
        options.tenant ? base::Uuid::parse(*options.tenant) : std::optional<base::Uuid>();
    std::vector<std::string> kinds;
    for (const auto& [name, kind] : context.catalog().kinds()) {
        if (kind.worker == options.worker && (!options.type || kind.event == *options.type))
            kinds.push_back(name);
    }
    // A letter without a kind has no type either.
    const auto topics = options.type ? std::vector<std::string>()
                                     : context.catalog().topics_of_worker(options.worker);
    CO_TRY(const auto rows,
           co_await context.survey().run(
               postgres::call(k_letters, options.cause, tenant, from, until, kinds, topics),
               Deadline::in(k_survey_timeout)));
    Window window;
    Places places;
    std::unordered_set<base::Uuid> seen;
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        ++window.records;
        if (const auto job = row.get<std::optional<base::Uuid>>(1)) {
            if (seen.insert(*job).second) window.jobs.push_back(*job);
        } else if (const auto topic = row.get<std::optional<std::string>>(2);
                   topic && row.get<std::int64_t>(4) >= 0) {
            places[{*topic, row.get<std::int32_t>(3)}].emplace(row.get<std::int64_t>(4),
                                                               row.get<base::Uuid>(0));
        }
    }
    if (!places.empty()) CO_TRY_VOID(fetch_raw(context, places, window));
    co_return window;
}

}  // namespace

Result<void> check_options(const events::Catalog& catalog, const ReplayOptions& options) {
    const auto bad = [](std::string what) { return fail(ErrorCode::invalid, std::move(what)); };
    const auto topics = catalog.topics_of_worker(options.worker);
    const bool replayable = std::ranges::any_of(catalog.topics(), [&](const auto& topic) {
        return topic.worker == options.worker && topic.lane == "replay";
    });
    if (options.worker.empty()) return bad("--worker must name who is to do it");
    if (!replayable) return bad(fmt::format("no worker {} has a replay topic", options.worker));
    if (!options.topic.empty() && std::ranges::find(topics, options.topic) == topics.end())
        return bad(fmt::format("{} is no topic of {}", options.topic, options.worker));
    if (options.tenant && !base::Uuid::parse(*options.tenant))
        return bad("--tenant must be a UUID");
    if (options.force && options.shadow) return bad("--force and --shadow exclude each other");
    if (options.repeat_effects && !options.force) return bad("--repeat-effects needs --force");
    if (options.cause && !options.dead_letters) return bad("--cause needs --dead-letters");
    if (options.dead_letters && (!options.topic.empty() || !options.offsets.empty()))
        return bad("--dead-letters are found by cause and time, not by topic");
    if (options.dead_letters && (options.force || options.shadow))
        return bad("--dead-letters go round again as they are, without --force and --shadow");
    if (!options.dead_letters && !options.from && options.offsets.empty())
        return bad(
            "a window is needed: --from, or --topic --partition --offsets, or --dead-letters");
    if (!options.offsets.empty() && (options.topic.empty() || options.partition < 0))
        return bad("--offsets needs --topic and --partition");
    if (!options.offsets.empty() && (options.from || options.until))
        return bad("--offsets and times exclude each other");
    return {};
}

Task<Result<Window>> find_window(Context& context, const ReplayOptions& options) {
    if (options.dead_letters) co_return co_await from_letters(context, options);
    co_return co_await from_log(context, options);
}

}  // namespace millrace::workers::ops
