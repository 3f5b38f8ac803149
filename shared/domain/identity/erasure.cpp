#include "shared/domain/identity/erasure.hpp"

namespace millrace::domain::identity {

namespace {

const postgres::Statement k_erase{"person_erase",
                                  "SELECT done, why, keys, erased_jobs FROM erase_person($1)"};

const postgres::Statement k_purge{"credentials_purge", "SELECT purge_credentials()"};

}  // namespace

Task<Result<Erased>> erase_person(postgres::Database& db, base::UserId person, Deadline deadline) {
    CO_TRY(const auto rows, co_await db.run(postgres::call(k_erase, person), deadline));
    const auto row = rows[0];
    if (!row.get<bool>(0)) {
        const auto why = row.get<std::string>(1);
        co_return fail(why.starts_with("there is no") ? ErrorCode::not_found : ErrorCode::conflict,
                       why);
    }
    co_return Erased{.object_keys = row.get<std::vector<std::string>>(2),
                     .jobs = row.get<std::vector<base::Uuid>>(3)};
}

Task<Result<std::int64_t>> purge_credentials(postgres::Database& pipeline, Deadline deadline) {
    CO_TRY(const auto rows, co_await pipeline.run(postgres::call(k_purge), deadline));
    co_return rows[0].get<std::int64_t>(0);
}

}  // namespace millrace::domain::identity
