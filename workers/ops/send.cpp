#include "workers/ops/send.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/domain/jobs/publish.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;
namespace jobs = domain::jobs;

namespace {

constexpr auto k_timeout = 30s;
constexpr auto k_survey_timeout = 10min;
constexpr int k_days = 30;
const postgres::Statement k_usage{"ops_usage_by_kind",
                                  "SELECT kind, jobs, cost_usd, tokens FROM usage_by_kind($1, $2)"};

}  // namespace

double Estimate::cost_usd() const {
    double sum = 0;
    for (const auto& [name, kind] : kinds) sum += kind.cost_usd;
    return sum;
}

double Estimate::tokens() const {
    double sum = 0;
    for (const auto& [name, kind] : kinds) sum += kind.tokens;
    return sum;
}

json::Object Estimate::to_json() const {
    json::Array by_kind;
    for (const auto& [name, kind] : kinds) {
        by_kind.push_back(json::Object{{"kind", name},
                                       {"jobs", kind.jobs},
                                       {"seen", kind.seen},
                                       {"cost_usd", kind.cost_usd},
                                       {"tokens", kind.tokens}});
    }
    return {{"cost_usd", cost_usd()}, {"tokens", tokens()}, {"kinds", std::move(by_kind)}};
}

void Estimate::print() const {
    for (const auto& [name, kind] : kinds) {
        fmt::print("  {:<24} {:>9} jobs  ", name, kind.jobs);
        if (kind.seen == 0) {
            fmt::print("no cost known\n");
        } else {
            fmt::print("about ${:.4f}, {:.0f} tokens (as {} jobs of the last {} days)\n",
                       kind.cost_usd, kind.tokens, kind.seen, k_days);
        }
    }
}

Task<Result<Estimate>> estimate(Context& context, std::map<std::string, std::int64_t> wanted) {
    Estimate out;
    std::vector<std::string> names;
    for (const auto& [name, count] : wanted) {
        names.push_back(name);
        out.kinds[name].jobs = count;
    }
    CO_TRY(const auto rows, co_await context.survey().run(postgres::call(k_usage, names, k_days),
                                                          Deadline::in(k_survey_timeout)));
    for (std::size_t r = 0; r < rows.size(); ++r) {
        auto& kind = out.kinds[rows[r].get<std::string>(0)];
        kind.seen = rows[r].get<std::int64_t>(1);
        const auto share = static_cast<double>(kind.jobs) / static_cast<double>(kind.seen);
        kind.cost_usd = rows[r].get<double>(2) * share;
        kind.tokens = static_cast<double>(rows[r].get<std::int64_t>(3)) * share;
    }
    co_return out;
}

std::size_t Pace::batch() const {
    if (rate_ == 0) return k_send_batch;
    return std::clamp<std::size_t>(static_cast<std::size_t>(rate_) / 10, 1, k_send_batch);
}

Task<void> Pace::sent(std::size_t count) {
    total_ += count;
    if (rate_ == 0) co_return;
    const std::chrono::duration<double> due(static_cast<double>(total_) /
                                            static_cast<double>(rate_));
    const auto at = started_ + std::chrono::duration_cast<std::chrono::nanoseconds>(due);
    co_await async::delay(executor_, Deadline::at(at).remaining());
}

Task<Sender::Sent> Sender::deliver(std::vector<kafka::OutRecord> records) {
    struct Reports {
        std::int64_t confirmed = 0;
        std::vector<kafka::Position> positions;
    };
    // Shared: a report that comes after the deadline must find somewhere to go.
    auto reports = std::make_shared<Reports>();
    Sent sent{.produced = static_cast<std::int64_t>(records.size())};
    for (auto& record : records) {
        producer_.publish(std::move(record), [reports](const Result<kafka::Position>& at) {
            if (!at) return;
            ++reports->confirmed;
            reports->positions.push_back(*at);
        });
    }
    co_await producer_.flush(Deadline::in(k_timeout));
    sent.confirmed = reports->confirmed;
    for (const auto& at : reports->positions) stand_[{at.topic, at.partition}].insert(at.offset);
    total_.produced += sent.produced;
    total_.confirmed += sent.confirmed;
    co_return sent;
}

Task<Result<Sender::Sent>> Sender::jobs(std::vector<base::Uuid> ids, base::Uuid outbox,
                                        std::string_view lane) {
    CO_TRY(auto found, co_await replay_.load(std::move(ids), Deadline::in(k_timeout)));
    std::vector<kafka::OutRecord> records;
    for (auto& job : found) {
        if (!lane.empty()) job.lane = lane;
        records.push_back(jobs::make_record(job, context_.catalog()));
    }
    const auto sent = co_await deliver(std::move(records));
    // Whatever was not confirmed the scheduler publishes from the outbox.
    if (!outbox.is_nil() && sent.confirmed == sent.produced)
        CO_TRY_VOID(co_await replay_.announced(outbox, Deadline::in(k_timeout)));
    co_return sent;
}

Task<Sender::Sent> Sender::copy(std::vector<kafka::Record> records, const std::string& topic) {
    std::vector<kafka::OutRecord> out;
    for (auto& record : records) {
        out.push_back({.topic = topic,
                       .key = std::move(record.key),
                       .value = std::move(record.value),
                       .headers = std::move(record.headers),
                       .has_value = record.has_value});
    }
    co_return co_await deliver(std::move(out));
}

Result<std::int64_t> Sender::found() {
    std::vector<kafka::Range> ranges;
    for (const auto& [where, offsets] : stand_)
        ranges.push_back({where.first, where.second, *offsets.begin(), *offsets.rbegin() + 1});
    std::int64_t found = 0;
    TRY_VOID(context_.reader().read(
        ranges,
        [&](const kafka::Record& record) {
            const auto at = stand_.find({record.position.topic, record.position.partition});
            found += at != stand_.end() && at->second.contains(record.position.offset) ? 1 : 0;
            return true;
        },
        k_timeout));
    return found;
}

}  // namespace millrace::workers::ops
