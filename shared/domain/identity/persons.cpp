#include "shared/domain/identity/persons.hpp"

namespace millrace::domain::identity {

namespace {
const postgres::Statement k_ensure{
    "persons_ensure",
    "SELECT user_id, tenant, is_active FROM ensure_person($1, $2, $3, $4, $5, true)"};
}  // namespace

postgres::Call ensure_person(const NewPerson& person) {
    return postgres::call(k_ensure, person.realm, person.address, person.user, person.tenant,
                          person.locale);
}

Person person(const postgres::Rows& rows) {
    const auto row = rows[0];
    return {.user = row.get<base::UserId>(0),
            .tenant = row.get<base::TenantId>(1),
            .is_active = row.get<bool>(2)};
}

Result<void> require_active(const Person& person) {
    if (person.is_active) return {};
    return fail(ErrorCode::forbidden, "this account is closed", {.reason = "ACCOUNT_CLOSED"});
}

Task<Result<Person>> sign_in(postgres::Transaction& transaction, NewPerson wanted,
                             NewSession session, std::string token, Deadline deadline) {
    CO_TRY(const auto rows, co_await transaction.run(ensure_person(wanted), deadline));
    const auto found = person(rows);
    CO_TRY_VOID(require_active(found));
    session.user = found.user;
    session.tenant = found.tenant;
    CO_TRY_VOID(co_await transaction.run(postgres::set_tenant(found.tenant), deadline));
    CO_TRY_VOID(co_await transaction.run(insert_session(session, token), deadline));
    co_return found;
}

}  // namespace millrace::domain::identity
