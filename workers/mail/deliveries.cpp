#include "workers/mail/deliveries.hpp"

namespace millrace::workers::mail {

namespace {

const postgres::Statement k_begin{"mail_begin_delivery", "SELECT begin_delivery($1, $2, $3)"};
const postgres::Statement k_note{"mail_note_delivery", R"sql(
UPDATE mail_deliveries SET state = $2, unknown = unknown + ($2 = 'unknown')::integer, cause = $3, changed_at = clock_timestamp()
 WHERE origin_id = $1)sql"};

std::string_view to_string(Deliveries::State state) {
    switch (state) {
        case Deliveries::State::sent:
            return "sent";
        case Deliveries::State::unsent:
            return "unsent";
        case Deliveries::State::refused:
            return "refused";
        case Deliveries::State::unknown:
            return "unknown";
    }
    return "";
}

Deliveries::Verdict parse_verdict(std::string_view text) {
    using enum Deliveries::Verdict;
    if (text == "go") return go;
    if (text == "wait") return wait;
    if (text == "sent") return sent;
    check(text == "given_up", "a verdict of begin_delivery");
    return given_up;
}

}  // namespace

Task<Result<Deliveries::Verdict>> Deliveries::begin(base::JobId origin, base::TenantId tenant,
                                                    std::chrono::milliseconds patience,
                                                    Deadline deadline) {
    CO_TRY(const auto rows, co_await postgres::in_tenant(
                                app_, tenant,
                                postgres::call(k_begin, origin, tenant,
                                               std::chrono::duration<double>(patience).count()),
                                deadline));
    co_return parse_verdict(rows[0].get<std::string_view>(0));
}

Task<Result<void>> Deliveries::note(base::JobId origin, base::TenantId tenant, State state,
                                    std::string cause, Deadline deadline) {
    CO_TRY_VOID(co_await postgres::in_tenant(
        app_, tenant, postgres::call(k_note, origin, to_string(state), cause), deadline));
    co_return Result<void>{};
}

}  // namespace millrace::workers::mail
