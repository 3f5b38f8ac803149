#include "workers/runtime/settle.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/crypto.hpp"
#include "shared/base/failpoint.hpp"
#include "shared/base/utf8.hpp"
#include "shared/json/writer.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::workers::runtime {

namespace jobs = domain::jobs;

namespace {

constexpr std::size_t k_fence_at = 1;  // after set_tenant
constexpr auto k_write_timeout = std::chrono::seconds(5);
constexpr auto k_pause_first = std::chrono::milliseconds(100);
constexpr auto k_pause_max = std::chrono::milliseconds(2000);

std::string_view bytes_of(const base::Uuid& id) {
    return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

/// As PostgreSQL takes it: what a handler threw may hold any bytes.
std::string as_text(std::string text) {
    if (!base::is_valid_utf8(text) || text.contains('\0')) {
        std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c > 0x7E; }, '?');
    }
    return text;
}

std::string error_json(std::string_view code, std::string_view message,
                       std::string_view field = {}) {
    json::Object error{{"code", code}, {"message", message}};
    if (!field.empty()) error["field"] = field;
    return json::dump(json::Object{{"error", std::move(error)}});
}

}  // namespace

Outcome succeed(std::string result, std::vector<postgres::Call> effects) {
    return {.status = jobs::Status::succeeded,
            .result = std::move(result),
            .effects = std::move(effects)};
}

Outcome fail_for_good(const Error& error, std::vector<postgres::Call> effects) {
    json::Object shown{{"code", error.reason}, {"message", error.detail}};
    if (error.retry_after) shown["retry_after"] = error.retry_after->count();
    return {.status = jobs::Status::failed,
            .result = json::dump(json::Object{{"error", std::move(shown)}}),
            .effects = std::move(effects)};
}

Outcome fail_for_good(std::string_view code, std::string_view message,
                      std::vector<postgres::Call> effects) {
    return {.status = jobs::Status::failed,
            .result = error_json(code, message),
            .effects = std::move(effects)};
}

std::string_view to_string(Settled settled) noexcept {
    switch (settled) {
        case Settled::committed:
            return "committed";
        case Settled::fenced:
            return "fenced";
        case Settled::retried:
            return "retried";
        case Settled::dead:
            return "dead";
    }
    return "";
}

Settler::Settler(async::TaskGroup& tasks, Ports ports, std::string worker_name)
    : ports_(ports),
      worker_name_(std::move(worker_name)),
      jitter_(base::random_u32()),
      completions_(tasks, "completions", {},
                   [this](std::vector<Item> items) { return flush(std::move(items)); }) {}

Task<Settled> Settler::settle(const Job& job, Result<Outcome> outcome) {
    const auto executor = co_await asio::this_coro::executor;
    for (auto pause = k_pause_first;; pause = std::min(pause * 2, k_pause_max)) {
        auto settled = co_await once(job, outcome);
        if (settled) co_return *settled;
        const auto code = settled.error().code;
        if (outcome && (!base::is_transient(code) || code == ErrorCode::internal)) {
            // The database refuses the effects themselves (a constraint, a right, a missing table):
            // the handler's bug or a rule it could not know. Retrying the attempt decides.
            telemetry::log::error("the effects of a job were refused",
                                  {{"job_id", job.id.str()},
                                   {"kind", job.kind->name},
                                   {"cause", settled.error().log}});
            settled.error().code = ErrorCode::internal;
            outcome = std::unexpected(std::move(settled).error());
            continue;
        }
        telemetry::log::warning("an outcome waits for the database",
                                {{"job_id", job.id.str()}, {"cause", settled.error().log}});
        co_await async::delay(executor, pause);
    }
}

Task<Result<Settled>> Settler::once(const Job& job, const Result<Outcome>& outcome) {
    base::failpoint::at("settle.before");
    if (outcome) co_return co_await commit(job, *outcome);
    const auto& error = outcome.error();
    if (base::is_transient(error.code)) co_return co_await give_up_or_wait(job, error);
    Outcome ended{.status = error.code == ErrorCode::cancelled ? jobs::Status::cancelled
                                                               : jobs::Status::failed,
                  .result = error_json(error.reason.empty() ? base::to_string(error.code)
                                                            : std::string_view(error.reason),
                                       error.detail, error.field)};
    co_return co_await commit(job, ended);
}

Task<Result<Settled>> Settler::commit(const Job& job, const Outcome& outcome) {
    jobs::Completion completion{job.id, job.attempt, outcome.status, outcome.result};
    const bool plain = outcome.effects.empty() && outcome.follow_ups.empty() &&
                       outcome.releases.empty() && job.order_key.empty();
    if (plain) {
        async::OneShot<Result<bool>> done(co_await asio::this_coro::executor);
        if (!completions_.add({std::move(completion), done}))
            co_return fail(ErrorCode::unavailable, "too many completions wait");
        CO_TRY(const bool owned, co_await done.wait());
        co_return owned ? Settled::committed : Settled::fenced;
    }
    const auto outbox = base::uuid_v7();
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(job.tenant));
    calls.push_back(jobs::fence(completion, job.kind->dead_blocks));
    for (const auto& effect : outcome.effects) calls.push_back(effect);
    const auto released_at = calls.size();
    for (const auto& release : outcome.releases) calls.push_back(release);
    for (auto& call : jobs::insert_jobs(outcome.follow_ups, outbox))
        calls.push_back(std::move(call));
    const auto done =
        co_await ports_.app.transaction(std::move(calls), Deadline::in(outcome.commit_timeout));
    if (!done && jobs::is_fenced(done.error())) co_return Settled::fenced;
    if (!done) co_return std::unexpected(done.error());
    base::failpoint::at("settle.committed");
    if (!outcome.follow_ups.empty()) ports_.publisher.publish({outbox, outcome.follow_ups});
    for (std::size_t i = 0; i < outcome.releases.size(); ++i)
        announce((*done)[released_at + i][0].get<std::optional<base::Uuid>>(0));
    announce_end(job.id, (*done)[k_fence_at][0].get<std::optional<base::Uuid>>(0));
    co_return Settled::committed;
}

Task<void> Settler::flush(std::vector<Item> items) {
    std::vector<jobs::Completion> batch;
    batch.reserve(items.size());
    for (auto& item : items) batch.push_back(item.completion);
    auto owned =
        co_await ports_.lifecycle.complete(std::move(batch), Deadline::in(k_write_timeout));
    if (!owned && owned.error().code == ErrorCode::invalid && items.size() > 1) {
        for (auto& item : items) {  // one row's data spoils the batch
            std::vector<Item> single;
            single.push_back(std::move(item));
            co_await flush(std::move(single));
        }
        co_return;
    }
    if (owned) {
        base::failpoint::at("settle.committed");
        announce_ends(*owned);
    }
    for (const auto& item : items) {
        item.done.set(
            owned ? Result<bool>(std::ranges::binary_search(*owned, item.completion.id.uuid))
                  : Result<bool>(std::unexpected(owned.error())));
    }
}

Task<Result<Settled>> Settler::give_up_or_wait(const Job& job, const Error& error) {
    const auto cause = as_text(error.log.empty() ? error.detail : error.log);
    const auto deadline = Deadline::in(k_write_timeout);
    auto counted = job.attempt;
    if (counted >= job.kind->attempts_max()) {
        CO_TRY(const int returned, co_await ports_.lifecycle.returned(job.id, deadline));
        counted -= returned;
    }
    if (counted >= job.kind->attempts_max()) {
        jobs::DeadLetter letter{job.id, job.attempt, "attempts", cause, job.origin};
        CO_TRY(const auto buried, co_await ports_.lifecycle.bury(letter, worker_name_,
                                                                 job.kind->dead_blocks, deadline));
        if (!buried.became) co_return Settled::fenced;
        ports_.publisher.publish_dead_letter(letter, jobs::NewJob{.id = job.id,
                                                                  .tenant = job.tenant,
                                                                  .owner = job.owner,
                                                                  .kind = job.kind,
                                                                  .lane = job.lane,
                                                                  .order_key = job.order_key,
                                                                  .trace = job.trace,
                                                                  .input = job.input});
        announce_end(job.id, buried.announced);
        co_return Settled::dead;
    }
    const auto ceiling =
        job.kind->retry[static_cast<std::size_t>(std::max(counted, 1)) - 1].count();
    std::uniform_int_distribution<std::int64_t> full(0, ceiling);  // full jitter
    auto wait = std::chrono::milliseconds(full(jitter_));
    if (error.retry_after) wait = std::max<std::chrono::milliseconds>(wait, *error.retry_after);
    CO_TRY(const auto left, co_await ports_.lifecycle.retry(job.id, job.attempt, wait, cause,
                                                            worker_name_, deadline));
    if (!left.became) co_return Settled::fenced;
    if (*left.became == jobs::Status::waiting) {
        announce(left.announced);
        co_return Settled::retried;
    }
    announce_end(job.id, left.announced);  // it was cancelled meanwhile
    co_return Settled::committed;
}

namespace {

/// The same record gives the same dead letter, however often it is read: its offset is stored only
/// afterwards. What it holds counts too, since the offsets of a topic made anew begin again.
base::Uuid letter_id(const jobs::DeadLetter& letter, const kafka::OutRecord& record) {
    auto text =
        fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n", letter.origin.topic, letter.origin.partition,
                    letter.origin.offset, letter.cause, letter.job.str(), record.value.size());
    text += record.value;
    for (const auto& [name, value] : record.headers) {
        text += fmt::format("{}\n{}\n", name.size(), value.size());
        text.append(name).append(value);
    }
    const auto digest = base::sha256(text);
    base::Uuid id;
    std::ranges::copy_n(digest.begin(), std::ssize(id.bytes), id.bytes.begin());
    return id;
}

}  // namespace

Task<void> Settler::bury_record(jobs::DeadLetter letter, kafka::OutRecord record) {
    const auto executor = co_await asio::this_coro::executor;
    telemetry::log::error("a record is no runnable job",
                          {{"cause", letter.cause},
                           {"detail", letter.detail},
                           {"topic", letter.origin.topic},
                           {"partition", std::int64_t{letter.origin.partition}},
                           {"offset", letter.origin.offset}});
    const auto id = letter_id(letter, record);
    while (!co_await ports_.lifecycle.bury_record(id, letter, Deadline::in(k_write_timeout))) {
        co_await async::delay(executor, k_pause_max);
    }
    ports_.publisher.publish_dead_letter(letter, std::move(record));
}

void Settler::announce(std::optional<base::Uuid> outbox) {
    if (outbox) ports_.publisher.announce({&*outbox, 1});
}

void Settler::announce_end(base::JobId id, std::optional<base::Uuid> next) {
    announce(next);
    announce_ends({&id.uuid, 1});
}

void Settler::announce_ends(std::span<const base::Uuid> ids) {
    if (ids.empty()) return;
    std::string payload;
    payload.reserve(ids.size() * 16);
    for (const auto& id : ids) payload += bytes_of(id);
    ports_.redis.post({"PUBLISH", std::string(jobs::k_done_channel), std::move(payload)});
}

}  // namespace millrace::workers::runtime
