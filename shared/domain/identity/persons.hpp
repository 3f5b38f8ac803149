#pragma once
// People who sign in by what was mailed to them: the accounts of karte and planner, each a tenant
// of its own.

#include <string>
#include <string_view>

#include "shared/domain/identity/sessions.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

/// What a planner session opens: habits has the same accounts.
inline constexpr std::string_view k_planner_audience = "planner habits";

struct NewPerson {
    std::string realm;    ///< karte | planner
    std::string address;  ///< proven to be theirs
    std::string locale = "ja";
    // Of the account, should there be none yet.
    base::UserId user = base::UserId::make();
    base::TenantId tenant = base::TenantId::make();
};

struct Person {
    base::UserId user;
    base::TenantId tenant;
    bool is_active = false;
};

/// The account of the address, made if there is none. Read with person().
[[nodiscard]] postgres::Call ensure_person(const NewPerson& person);
[[nodiscard]] Person person(const postgres::Rows& rows);
/// `forbidden` (ACCOUNT_CLOSED).
[[nodiscard]] Result<void> require_active(const Person& person);

/// In `transaction`, which ends up with the person's tenant set: the account, and a session of it.
/// `session` needs neither tenant nor user. `token` as of insert_session(). `forbidden`: the
/// account is closed.
Task<Result<Person>> sign_in(postgres::Transaction& transaction, NewPerson person,
                             NewSession session, std::string token, Deadline deadline);

}  // namespace millrace::domain::identity
