// From records to claimed jobs: decode, claim in PostgreSQL, then store the offset (design §1.4).

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/failpoint.hpp"
#include "shared/events/cloud_event.hpp"
#include "shared/telemetry/log.hpp"
#include "workers/runtime/running.hpp"

namespace millrace::workers::runtime {

namespace jobs = domain::jobs;

namespace {
constexpr auto k_claim_timeout = std::chrono::seconds(5);
constexpr auto k_claim_pause = std::chrono::milliseconds(200);
}  // namespace

struct Worker::FetchedOne {
    events::JobRecord record;
    const events::Kind* kind;
    std::string lane;
    kafka::Position origin;
    kafka::Headers headers;  ///< as they came: a dead letter is a copy of its record
};

/// Sorted by id, each id once.
struct Worker::Fetched {
    std::map<base::Uuid, FetchedOne> plain, ordered;
};

Task<void> Worker::intake() {
    while (!draining_) {
        if (claimed_.size() >= options_.claimed_max) {
            co_await room_.wait(Deadline::in(std::chrono::seconds(1)));
            continue;
        }
        auto records = co_await ports_.consumer.fetch(
            std::min(options_.fetch_max, options_.claimed_max - claimed_.size()));
        if (records.empty()) co_return;
        taking_ = true;
        const bool ours = co_await take(std::move(records));
        taking_ = false;
        if (!ours) co_return;
    }
}

/// False when this process has been written off and must claim nothing more.
Task<bool> Worker::take(std::vector<kafka::Record> records) {
    std::map<std::pair<std::string, std::int32_t>, std::pair<kafka::Position, base::WallTime>> last;
    for (const auto& record : records) {
        last[{record.position.topic, record.position.partition}] = {record.position, record.time};
    }
    auto fetched = co_await decode(records);
    if (!fetched.plain.empty() && !co_await claim(fetched)) co_return false;
    if (!fetched.ordered.empty() && !co_await claim_ordered(fetched)) co_return false;
    base::failpoint::at("claim.committed");
    for (const auto& [partition, seen] : last) {
        ports_.consumer.store(seen.first);  // from here PostgreSQL owns the jobs
        consumed_[partition] = seen.second;
    }
    start_next();
    co_return true;
}

Task<Worker::Fetched> Worker::decode(std::vector<kafka::Record>& records) {
    Fetched out;
    for (auto& record : records) {
        jobs::DeadLetter letter{.job = {},
                                .attempt = 0,
                                .cause = "undecodable",
                                .detail = {},
                                .origin = record.position};
        auto decoded = events::decode(record.headers, record.value, record.has_value);
        if (!decoded) {
            letter.detail = decoded.error().detail;
            co_await settler_.bury_record(
                std::move(letter),
                {.value = std::move(record.value), .headers = std::move(record.headers)});
            continue;
        }
        const auto* kind = ports_.settle.catalog.kind(decoded->kind);
        if (!kind || !handlers_.contains(decoded->kind)) {
            letter.job = decoded->id;
            letter.cause = "unknown_kind";
            letter.detail = fmt::format("this worker has no handler for {}", decoded->kind);
            co_await settler_.bury_record(
                std::move(letter),
                {.value = decoded->input.value_or(""), .headers = std::move(record.headers)});
            continue;
        }
        if (claimed_.contains(decoded->id.uuid)) continue;  // announced twice
        std::string lane = "interactive";
        for (const auto& topic : ports_.settle.catalog.topics()) {
            if (topic.name == record.position.topic) lane = topic.lane;
        }
        auto& into = kind->ordered ? out.ordered : out.plain;
        const auto id = decoded->id.uuid;
        into.emplace(id, FetchedOne{std::move(*decoded), kind, std::move(lane),
                                    std::move(record.position), std::move(record.headers)});
    }
    co_return out;
}

Task<bool> Worker::claim(Fetched& fetched) {
    std::vector<base::Uuid> ids;
    for (const auto& [id, one] : fetched.plain) ids.push_back(id);
    claiming_ = ids;
    for (;;) {
        const auto claimed = co_await lifecycle_.claim(membership_.epoch(), ids, held(),
                                                       Deadline::in(k_claim_timeout));
        if (claimed) {
            for (const auto& job : *claimed) enqueue(std::move(fetched.plain.at(job.id.uuid)), job);
            claiming_.clear();
            if (claimed->size() < ids.size()) co_await bury_orphans(fetched.plain);
            co_return true;
        }
        if (claimed.error().code == ErrorCode::not_found) co_return false;
        telemetry::log::warning("a claim waits for the database", {{"cause", claimed.error().log}});
        co_await async::delay(executor_, k_claim_pause);
    }
}

Task<bool> Worker::claim_ordered(Fetched& fetched) {
    bool all = true;
    for (auto& [id, one] : fetched.ordered) {
        for (;;) {
            claiming_.assign(1, id);
            const auto claimed =
                co_await lifecycle_.claim_ordered(membership_.epoch(), id, one.kind->dead_blocks,
                                                  held(), Deadline::in(k_claim_timeout));
            if (claimed) {
                if (*claimed) enqueue(std::move(one), **claimed);
                all &= claimed->has_value();
                claiming_.clear();
                break;
            }
            if (claimed.error().code == ErrorCode::not_found) co_return false;
            telemetry::log::warning("a claim waits for the database",
                                    {{"cause", claimed.error().log}});
            co_await async::delay(executor_, k_claim_pause);
        }
    }
    if (!all) co_await bury_orphans(fetched.ordered);
    co_return true;
}

/// Records whose job does not exist: never run. (Those that exist have simply moved on.)
Task<void> Worker::bury_orphans(const std::map<base::Uuid, FetchedOne>& fetched) {
    std::vector<base::Uuid> missing;
    for (const auto& [id, one] : fetched) {
        if (!claimed_.contains(id)) missing.push_back(id);
    }
    auto there = co_await lifecycle_.existing(missing, Deadline::in(k_claim_timeout));
    while (!there) {
        co_await async::delay(executor_, k_claim_pause);
        there = co_await lifecycle_.existing(missing, Deadline::in(k_claim_timeout));
    }
    for (const auto& id : missing) {
        if (std::ranges::binary_search(*there, id)) continue;
        const auto& one = fetched.at(id);
        jobs::DeadLetter letter{{id}, 0, "orphan", "no such job in the database", one.origin};
        co_await settler_.bury_record(
            std::move(letter), {.value = one.record.input.value_or(""), .headers = one.headers});
    }
}

void Worker::enqueue(FetchedOne one, const jobs::Claimed& claimed) {
    claimed_[claimed.id.uuid] = claimed.attempt;
    Queued queued{.job = {.id = claimed.id,
                          .tenant = one.record.tenant,
                          .owner = one.record.owner,
                          .kind = one.kind,
                          .lane = std::move(one.lane),
                          .order_key = std::move(one.record.order_key),
                          .attempt = claimed.attempt,
                          .input = std::move(one.record.input).value_or(""),
                          .trace = one.record.trace,
                          .accepted_at = one.record.time,
                          .origin = std::move(one.origin),
                          .origin_id = claimed.id},
                  .alone = claimed.suspect};
    if (queued.alone) {
        suspects_.push_back(std::move(queued));
    } else {
        queue_.push(std::move(queued));
    }
}

/// With what is being claimed: a renewal that overtakes the claim's answer must not unlist it.
std::vector<base::Uuid> Worker::held() const {
    std::vector<base::Uuid> ids = claiming_;
    ids.reserve(claiming_.size() + claimed_.size());
    for (const auto& [id, attempt] : claimed_) ids.push_back(id);
    return ids;
}

/// What the scheduler may conclude from this process: nothing while a claim is under way.
Membership::Report Worker::report() {
    Membership::Report out{.in_flight = held(), .consumed = {}, .progress = !stuck_};
    if (taking_) return out;
    std::map<std::string, jobs::Consumed> topics;
    const auto now = std::chrono::system_clock::now();
    for (const auto& at : ports_.consumer.progress()) {
        auto& topic =
            topics.try_emplace(at.next.topic, jobs::Consumed{at.next.topic, 0, now}).first->second;
        ++topic.partitions;
        const auto seen = consumed_.find({at.next.topic, at.next.partition});
        const bool all = at.log_end >= 0 && at.next.offset >= at.log_end;
        const auto before = all                       ? now - std::chrono::seconds(1)
                            : seen != consumed_.end() ? seen->second
                                                      : base::WallTime{};
        topic.before = std::min(topic.before, before);
    }
    for (auto& [name, topic] : topics) out.consumed.push_back(std::move(topic));
    return out;
}

}  // namespace millrace::workers::runtime
