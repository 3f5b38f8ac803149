#pragma once
// The planner's development mode (contract planner.md): whoever says who they are, is. Production
// makes none of these.

#include <string>
#include <unordered_map>

#include "shared/domain/identity/principal.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

/// Users of the planner's realm that `x-user-id` names, made on first use. An id is always the same
/// user, on every edge. One thread.
class DevelopmentUsers {
 public:
    explicit DevelopmentUsers(postgres::Database& app) : app_(app) {}

    /// `invalid` when the id is not 1 to 128 visible ASCII characters.
    Task<Result<Principal>> resolve(std::string id, Deadline deadline);

    static constexpr std::size_t k_kept_max = 4096;

 private:
    postgres::Database& app_;
    std::unordered_map<std::string, Principal> known_;
};

}  // namespace millrace::domain::identity
