#include "shared/domain/jobs/publish.hpp"

#include <algorithm>
#include <set>

#include "shared/base/failpoint.hpp"

namespace millrace::domain::jobs {

namespace {
const postgres::Statement k_delete_outbox{"outbox_delete",
                                          "DELETE FROM outbox WHERE id = ANY ($1)"};
const postgres::Statement k_announced{"outbox_announced", R"sql(
SELECT o.id, j.id, j.tenant_id, j.owner_id, j.kind, j.lane, j.order_key, j.trace, j.input
  FROM outbox o JOIN jobs j ON j.id = ANY (o.jobs) WHERE o.id = ANY ($1::uuid[]) AND j.status = 'queued' ORDER BY o.id, j.seq)sql"};
constexpr auto k_timeout = std::chrono::seconds(5);
/// Nobody waits for a row to go, and each transaction costs: far below the relay's age of a row.
constexpr auto k_delete_pause = std::chrono::milliseconds(50);
}  // namespace

std::vector<Announcement> announcements_of(const postgres::Rows& rows,
                                           const events::Catalog& catalog) {
    std::vector<Announcement> out;
    std::set<base::Uuid>
        foreign;  // rows with a kind that this version does not know: left for one that does
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const auto row = rows[r];
        const auto outbox = row.get<base::Uuid>(0);
        if (out.empty() || out.back().outbox != outbox) out.push_back({outbox, {}});
        if (row.is_null(1)) continue;
        const auto* kind = catalog.kind(row.get<std::string_view>(4));
        if (!kind) {
            foreign.insert(outbox);
            continue;
        }
        out.back().jobs.push_back({.id = row.get<JobId>(1),
                                   .tenant = row.get<TenantId>(2),
                                   .owner = row.get<UserId>(3),
                                   .kind = kind,
                                   .lane = row.get<std::string>(5),
                                   .order_key = row.get<std::optional<std::string>>(6).value_or(""),
                                   .trace = telemetry::TraceContext::from_bytes(
                                       row.get<std::optional<std::string>>(7).value_or("")),
                                   .input = row.get<std::string>(8)});
    }
    std::erase_if(out, [&foreign](const Announcement& a) { return foreign.contains(a.outbox); });
    return out;
}

Task<Result<std::vector<Announcement>>> find_announcements(postgres::Database& db,
                                                           const events::Catalog& catalog,
                                                           std::vector<base::Uuid> outbox,
                                                           Deadline deadline) {
    CO_TRY(const auto rows, co_await db.run(postgres::call(k_announced, outbox), deadline));
    co_return announcements_of(rows, catalog);
}

kafka::OutRecord make_record(const NewJob& job, const events::Catalog& catalog) {
    const auto* topic = catalog.topic_of(*job.kind, job.lane);
    check(topic != nullptr, "accept refuses a lane that the kind's worker does not have");
    events::JobRecord record{.id = job.id,
                             .tenant = job.tenant,
                             .owner = job.owner,
                             .kind = job.kind->name,
                             .type = job.kind->event,
                             .order_key = job.order_key,
                             .time = base::uuid_time(job.id.uuid),
                             .trace = job.trace,
                             .input = std::nullopt};
    const bool inlined = job.input.size() <= events::k_inline_input_bytes_max;
    if (inlined) record.input.emplace();  // only its presence matters to the headers
    return {.topic = topic->name,
            .key = job.kind->ordered ? job.order_key : job.id.str(),
            .value = inlined ? job.input : std::string(),
            .headers = events::encode_headers(record)};
}

Publisher::Publisher(async::TaskGroup& tasks, kafka::Producer& producer,
                     postgres::Database& background, const events::Catalog& catalog)
    : producer_(producer),
      background_(background),
      catalog_(catalog),
      announced_(tasks, "announcements", {},
                 [this](std::vector<base::Uuid> rows) { return publish_rows(std::move(rows)); }),
      deletes_(tasks, "outbox deletes", {.pause = k_delete_pause},
               [this](std::vector<base::Uuid> rows) { return delete_rows(std::move(rows)); }) {}

/// Jobs without an order go to one partition per announcement, in turn: a produce request carries
/// one partition, and requests are what the broker charges for. (Order is the database's, never
/// Kafka's.)
kafka::OutRecord Publisher::placed(const NewJob& job) const {
    auto record = make_record(job, catalog_);
    const auto* topic = catalog_.topic_of(*job.kind, job.lane);
    if (!job.kind->ordered)
        record.partition =
            static_cast<std::int32_t>(turn_ % static_cast<std::uint32_t>(topic->partitions));
    return record;
}

void Publisher::publish(Announcement announcement, std::function<void(bool)> done) {
    if (announcement.jobs.empty()) {  // nothing left to announce
        (void)deletes_.add(base::Uuid(announcement.outbox));
        if (done) done(true);
        return;
    }
    struct Pending {
        base::Uuid outbox;
        std::size_t left;
        bool failed = false;
        std::function<void(bool)> done;
    };
    auto pending = std::make_shared<Pending>(
        Pending{announcement.outbox, announcement.jobs.size(), false, std::move(done)});
    ++turn_;
    for (const auto& job : announcement.jobs) {
        producer_.publish(placed(job), [this, pending](const Result<kafka::Position>& delivered) {
            ++(delivered ? stats_.published : stats_.failed);
            pending->failed |= !delivered;
            if (--pending->left > 0) return;
            base::failpoint::at("publish.delivered");
            // A full queue of deletions leaves the row to the relay: a repeated
            // record, nothing lost.
            if (!pending->failed) (void)deletes_.add(base::Uuid(pending->outbox));
            if (pending->done) pending->done(!pending->failed);
        });
    }
}

/// A full queue leaves them to the relay.
void Publisher::announce(std::span<const base::Uuid> outbox) {
    for (const auto& row : outbox) (void)announced_.add(base::Uuid(row));
}

/// An error leaves them to the relay.
Task<void> Publisher::publish_rows(std::vector<base::Uuid> outbox) {
    auto found = co_await find_announcements(background_, catalog_, std::move(outbox),
                                             Deadline::in(k_timeout));
    if (!found) co_return;
    for (auto& announcement : *found) publish(std::move(announcement));
}

Task<void> Publisher::drain(Deadline deadline) {
    co_await announced_.drained(deadline);
    co_await producer_.flush(deadline);
    co_await deletes_.drained(deadline);
}

void Publisher::publish_dead_letter(const DeadLetter& letter, kafka::OutRecord record) {
    record.topic = catalog_.dead_letters();
    record.key = letter.job.str();
    const auto add = [&record](std::string_view name, std::string text) {
        record.headers.emplace_back(name, std::move(text));
    };
    add("dead_cause", letter.cause);
    add("dead_detail", letter.detail.substr(0, 1000));
    add("dead_attempts", std::to_string(letter.attempt));
    add("dead_topic", letter.origin.topic);
    add("dead_partition", std::to_string(letter.origin.partition));
    add("dead_offset", std::to_string(letter.origin.offset));
    producer_.publish(std::move(record), [](const Result<kafka::Position>&) {});
}

Task<void> Publisher::delete_rows(std::vector<base::Uuid> rows) {
    std::ranges::sort(rows);
    const auto deleted =
        co_await background_.run(postgres::call(k_delete_outbox, rows), Deadline::in(k_timeout));
    if (deleted) stats_.outbox_deleted += deleted->affected();
}

Task<Result<std::vector<postgres::Rows>>> accept_with(postgres::Database& app, Publisher& publisher,
                                                      std::vector<postgres::Call> calls, NewJob job,
                                                      Deadline deadline) {
    const auto outbox = base::uuid_v7();
    const auto size = static_cast<std::ptrdiff_t>(calls.size());
    calls.insert(calls.begin(), postgres::set_tenant(job.tenant));
    for (auto& call : insert_jobs(std::span(&job, 1), outbox)) calls.push_back(std::move(call));
    CO_TRY(auto results, co_await app.transaction(std::move(calls), deadline));
    Announcement announcement{outbox, {}};
    announcement.jobs.push_back(std::move(job));
    publisher.publish(std::move(announcement));
    const auto first = std::make_move_iterator(results.begin() + 1);
    co_return std::vector<postgres::Rows>(first, first + size);
}

Task<Result<bool>> accept_if(postgres::Database& app, Publisher& publisher,
                             std::vector<postgres::Call> calls, NewJob job, Deadline deadline) {
    check(!calls.empty(), "there is a first call to ask");
    const auto outbox = base::uuid_v7();
    for (auto& call : insert_jobs(std::span(&job, 1), outbox)) calls.push_back(std::move(call));
    CO_TRY(auto transaction, co_await app.begin(deadline));
    CO_TRY_VOID(co_await transaction->run(postgres::set_tenant(job.tenant), deadline));
    CO_TRY(const auto first, co_await transaction->run(std::move(calls.front()), deadline));
    if (first.empty() && first.affected() == 0) co_return false;
    for (std::size_t i = 1; i < calls.size(); ++i)
        CO_TRY_VOID(co_await transaction->run(std::move(calls[i]), deadline));
    CO_TRY_VOID(co_await transaction->commit(deadline));
    Announcement announcement{outbox, {}};
    announcement.jobs.push_back(std::move(job));
    publisher.publish(std::move(announcement));
    co_return true;
}

}  // namespace millrace::domain::jobs
