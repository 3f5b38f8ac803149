#include "shared/domain/identity/development_users.hpp"

#include <algorithm>

#include "shared/domain/identity/persons.hpp"

namespace millrace::domain::identity {

namespace {

const postgres::Statement k_name{"development_users_name",
                                 "UPDATE users SET username = $2 WHERE id = $1"};

}  // namespace

Task<Result<Principal>> DevelopmentUsers::resolve(std::string id, Deadline deadline) {
    if (const auto found = known_.find(id); found != known_.end()) co_return found->second;
    const auto visible = [](unsigned char c) { return c > 0x20 && c < 0x7F; };
    if (id.empty() || id.size() > 128 || !std::ranges::all_of(id, visible)) {
        co_return fail(ErrorCode::invalid, "x-user-id: must be 1 to 128 visible ASCII characters",
                       {.field = "x-user-id"});
    }
    const base::UserId user{base::named_uuid("development user " + id)};
    const base::TenantId tenant{base::named_uuid("development tenant " + id)};
    const NewPerson person{.realm = "planner",
                           .address = user.str() + "@development.invalid",
                           .user = user,
                           .tenant = tenant};
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(tenant));
    calls.push_back(ensure_person(person));
    calls.push_back(postgres::call(k_name, user, id));
    CO_TRY_VOID(co_await app_.transaction(std::move(calls), deadline));
    Principal principal{.tenant = tenant,
                        .user = user,
                        .role = "USER",
                        .audience = std::string(k_planner_audience),
                        .is_owner = true,
                        .alias = id};
    if (known_.size() >= k_kept_max) known_.clear();
    known_.insert_or_assign(std::move(id), principal);
    co_return principal;
}

}  // namespace millrace::domain::identity
