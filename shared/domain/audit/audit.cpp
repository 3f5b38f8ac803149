#include "shared/domain/audit/audit.hpp"

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::domain::audit {

namespace {

const postgres::Statement k_record{"audit_record",
                                   "SELECT record_act($1, $2, $3, $4, $5, $6, $7, $8)"};

const postgres::Statement k_seal{"audit_seal", "SELECT seal_audit($1)"};
const postgres::Statement k_head{
    "audit_head",
    "SELECT number, encode(hash, 'hex') FROM audit_seals ORDER BY number DESC LIMIT 1"};
constexpr std::int32_t k_rows_max = 10'000;
constexpr auto k_write_timeout = std::chrono::seconds(2);

std::string_view to_string(Outcome outcome) {
    switch (outcome) {
        case Outcome::done:
            return "done";
        case Outcome::failed:
            return "failed";
        case Outcome::denied:
            return "denied";
    }
    return "failed";
}

}  // namespace

std::string user_actor(base::UserId user) {
    return "user:" + user.str();
}

std::string address_actor(std::string_view address) {
    return "address:" + base::hex(base::sha256(base::ascii_lower(address))).substr(0, 32);
}

postgres::Call record(const Act& act) {
    const auto details = json::dump(act.details);
    return postgres::call(k_record, base::uuid_v7(), act.tenant, act.actor, act.what,
                          postgres::Jsonb{details}, to_string(act.outcome), act.client,
                          act.trace.trace_id_hex());
}

Task<void> Log::write(Act act) {
    const auto done = co_await app_.run(record(act), Deadline::in(k_write_timeout));
    if (done) co_return;
    telemetry::log::error("an act could not be recorded", {{"actor", act.actor},
                                                           {"what", act.what},
                                                           {"outcome", to_string(act.outcome)},
                                                           {"client", act.client},
                                                           {"trace_id", act.trace.trace_id_hex()},
                                                           {"cause", done.error().detail}});
}

Task<Result<Seal>> seal(postgres::Database& pipeline, Deadline deadline) {
    CO_TRY(const auto rows, co_await pipeline.run(postgres::call(k_seal, k_rows_max), deadline));
    CO_TRY(const auto head, co_await pipeline.run({&k_head, {}}, deadline));
    Seal out{.rows = rows[0].get<std::int32_t>(0), .hash = {}};
    if (!head.empty()) {
        out.number = head[0].get<std::int64_t>(0);
        out.hash = head[0].get<std::string>(1);
    }
    co_return out;
}

}  // namespace millrace::domain::audit
