#pragma once
// A person's data handed over and erased (schemas/sql/0012_persons.sql).

#include <string>
#include <vector>

#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

struct Erased {
    std::vector<std::string> object_keys;  ///< to be removed from the object store
    std::vector<base::Uuid> jobs;          ///< whose live streams are to be removed
};

/// `not_found`, or `conflict` for the owner of a tenant that has other members.
Task<Result<Erased>> erase_person(postgres::Database& db, base::UserId person, Deadline deadline);

/// Removes expired sessions and secrets; how many. As millrace_pipeline.
Task<Result<std::int64_t>> purge_credentials(postgres::Database& pipeline, Deadline deadline);

}  // namespace millrace::domain::identity
