#include "shared/domain/jobs/accept.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "shared/base/failpoint.hpp"

namespace millrace::domain::jobs {

namespace {

// The key decides first: a job whose key is taken is not inserted. ORDER BY: unsorted ON CONFLICT
// batches deadlock. `if_there` is for a batch that may have committed already: what it costs, a
// look-up and a log record for each job, is spared where nothing can be there.
std::string accept_sql(std::string_view if_there) {
    return fmt::format(R"sql(
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[],
                         $9::bytea[], $10::bytea[])
        AS t (id, tenant_id, owner_id, kind, lane, order_key, trace, input, key, body_hash)
), keys AS (
    INSERT INTO idempotency (scope_hash, body_hash, job_id)
    SELECT key, body_hash, id FROM input WHERE key IS NOT NULL ORDER BY key
    ON CONFLICT (scope_hash) DO NOTHING
    RETURNING job_id
), accepted AS (
    INSERT INTO jobs (id, tenant_id, owner_id, kind, lane, order_key, trace, input)
    SELECT id, tenant_id, owner_id, kind, lane, order_key, trace, input FROM input
     WHERE key IS NULL OR id IN (SELECT job_id FROM keys)
     ORDER BY id
    {0}
    RETURNING id
), announced AS (
    INSERT INTO outbox (id, jobs) SELECT $11, array_agg(id) FROM accepted HAVING count(*) > 0
    {0}
)
SELECT id FROM accepted)sql",
                       if_there);
}
const std::string k_first_sql = accept_sql(""),
                  k_again_sql = accept_sql("ON CONFLICT (id) DO NOTHING");
const postgres::Statement k_accept{"jobs_accept", k_first_sql.c_str()};
const postgres::Statement k_accept_again{"jobs_accept_again", k_again_sql.c_str()};

const postgres::Statement k_find_keys{
    "idempotency_find",
    "SELECT scope_hash, body_hash, job_id FROM idempotency WHERE scope_hash = ANY ($1::bytea[])"};

constexpr auto k_retry_pause = std::chrono::milliseconds(50);

/// One array per column; views into the items.
struct Columns {
    std::vector<base::Uuid> ids, tenants, owners;
    std::vector<std::string> kinds, lanes;
    std::vector<std::optional<std::string>> order_keys;
    std::vector<std::string> trace_bytes;
    std::vector<postgres::Bytes> traces, inputs;
    std::vector<std::optional<postgres::Bytes>> keys, bodies;
};

template <class Items>
Columns columns_of(const Items& items) {
    Columns c;
    c.trace_bytes.reserve(items.size());  // views must stay valid
    for (const auto& item : items) {
        const auto& job = item.job;
        c.ids.push_back(job.id.uuid);
        c.tenants.push_back(job.tenant.uuid);
        c.owners.push_back(job.owner.uuid);
        c.kinds.push_back(job.kind->name);
        c.lanes.push_back(job.lane);
        c.order_keys.push_back(job.order_key.empty() ? std::nullopt : std::optional(job.order_key));
        c.trace_bytes.push_back(job.trace.bytes());
        c.traces.push_back({c.trace_bytes.back()});
        c.inputs.push_back({job.input});
        c.keys.push_back(item.key ? std::optional(postgres::Bytes{base::view(item.key->scope)})
                                  : std::nullopt);
        c.bodies.push_back(item.key ? std::optional(postgres::Bytes{base::view(item.key->body)})
                                    : std::nullopt);
    }
    return c;
}

}  // namespace

Error key_mismatch() {
    return fail(ErrorCode::conflict, "this Idempotency-Key was used with another request body",
                {.field = "Idempotency-Key", .reason = "IDEMPOTENCY_MISMATCH"})
        .error();
}

Error key_in_progress() {
    return fail(ErrorCode::conflict, "the first request with this Idempotency-Key is still running",
                {.reason = "IDEMPOTENCY_IN_PROGRESS", .retry_after = std::chrono::seconds(1)})
        .error();
}

Acceptor::Acceptor(async::TaskGroup& tasks, postgres::Database& durable, Publisher& publisher)
    : executor_(tasks.executor()),
      durable_(durable),
      publisher_(publisher),
      batcher_(tasks, "accept batches", {},
               [this](std::vector<Item> items) { return flush(std::move(items)); }) {}

Task<Result<Accepted>> Acceptor::accept(NewJob job, std::optional<IdempotencyKey> key,
                                        Deadline deadline) {
    async::OneShot<Result<Accepted>> done(executor_);
    if (!batcher_.add({std::move(job), key, deadline, done})) {
        co_return fail(ErrorCode::unavailable, "too many requests are waiting to be accepted",
                       {.retry_after = std::chrono::seconds(1)});
    }
    co_return co_await done.wait();
}

Task<void> Acceptor::flush(std::vector<Item> items) {
    std::ranges::sort(items, {}, [](const Item& item) { return item.job.id; });
    co_await flush_batch(std::move(items));
}

Task<void> Acceptor::flush_batch(std::vector<Item> items) {
    const auto outbox = base::uuid_v7();
    const auto deadline =
        std::ranges::max(items, {}, [](const Item& i) { return i.deadline.when(); }).deadline;
    std::vector<bool> inserted(items.size());
    auto done = co_await insert(items, outbox, inserted, deadline);
    if (!done && done.error().code == ErrorCode::invalid && items.size() > 1) {
        // One row's data spoils the batch: each on its own, so that it fails alone.
        for (auto& item : items) {
            std::vector<Item> single;
            single.push_back(std::move(item));
            co_await flush_batch(std::move(single));
        }
        co_return;
    }
    std::vector<Result<Accepted>> answers;
    for (const auto& item : items) answers.emplace_back(Accepted{item.job.id, false});
    if (done) done = co_await resolve_keys(items, inserted, answers, deadline);
    ++stats_.batches;

    if (done) base::failpoint::at("accept.committed");

    Announcement announcement{outbox, {}};
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!done) answers[i] = std::unexpected(done.error());
        const bool ours = answers[i] && !answers[i]->attached;
        ++(ours ? stats_.accepted : answers[i] ? stats_.attached : stats_.failed);
        items[i].done.set(std::move(answers[i]));
        if (ours) announcement.jobs.push_back(std::move(items[i].job));
    }
    if (announcement.jobs.empty()) co_return;
    base::failpoint::at("publish.before");
    publisher_.publish(std::move(announcement));
}

Task<Result<void>> Acceptor::insert(std::vector<Item>& items, const base::Uuid& outbox,
                                    std::vector<bool>& inserted, Deadline deadline) {
    const auto c = columns_of(items);
    for (const auto* statement = &k_accept;; statement = &k_accept_again) {
        // The same ids and the same outbox id each time: after a connection lost at COMMIT a
        // repetition changes nothing.
        auto rows = co_await durable_.run(
            postgres::call(*statement, c.ids, c.tenants, c.owners, c.kinds, c.lanes, c.order_keys,
                           c.traces, c.inputs, c.keys, c.bodies, outbox),
            deadline);
        if (rows) {
            for (std::size_t r = 0; r < rows->size(); ++r) {
                const auto id = (*rows)[r].get<base::Uuid>(0);
                const auto at = std::ranges::lower_bound(c.ids, id) - c.ids.begin();
                inserted[static_cast<std::size_t>(at)] = true;
            }
            co_return Result<void>{};
        }
        if (!base::is_transient(rows.error().code) || deadline.remaining() <= k_retry_pause) {
            co_return std::unexpected(std::move(rows).error());
        }
        co_await async::delay(executor_, k_retry_pause);
    }
}

Task<Result<void>> Acceptor::resolve_keys(std::vector<Item>& items,
                                          const std::vector<bool>& inserted,
                                          std::vector<Result<Accepted>>& answers,
                                          Deadline deadline) {
    std::vector<postgres::Bytes> wanted;
    for (std::size_t i = 0; i < items.size(); ++i) {
        // Without a key, "not inserted" means that an earlier try of this very batch committed.
        if (!inserted[i] && items[i].key) wanted.push_back({base::view(items[i].key->scope)});
    }
    if (wanted.empty()) co_return Result<void>{};
    CO_TRY(const auto rows, co_await durable_.run(postgres::call(k_find_keys, wanted), deadline));
    std::map<std::string, std::size_t, std::less<>> found;
    for (std::size_t r = 0; r < rows.size(); ++r) found.emplace(rows[r].get<std::string>(0), r);

    for (std::size_t i = 0; i < items.size(); ++i) {
        if (inserted[i] || !items[i].key) continue;
        const auto at = found.find(base::view(items[i].key->scope));
        if (at == found.end()) {  // expired between the two statements
            answers[i] = fail(ErrorCode::unavailable, "please send the request again",
                              {.retry_after = std::chrono::seconds(1)});
            continue;
        }
        const auto row = rows[at->second];
        const auto owner = row.get<std::optional<JobId>>(2);
        if (row.get<std::string_view>(1) != base::view(items[i].key->body)) {
            answers[i] = std::unexpected(key_mismatch());
        } else if (!owner) {
            answers[i] = std::unexpected(key_in_progress());
        } else if (*owner != items[i].job.id) {
            answers[i] = Accepted{*owner, true};
        }
    }
    co_return Result<void>{};
}

}  // namespace millrace::domain::jobs
