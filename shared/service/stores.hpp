#pragma once
// The drivers of a process, opened as its configuration says; what they report goes to the log.

#include <memory>
#include <string_view>

#include "shared/kafka/kafka.hpp"
#include "shared/postgres/postgres.hpp"
#include "shared/redis/redis.hpp"
#include "shared/service/service.hpp"

namespace millrace::service {

/// As millrace_pipeline, which sees all tenants' jobs and no product table. `use` names the
/// connection in pg_stat_activity. Hot statements keep index plans whatever the statistics say,
/// unless `pinned` is false.
std::unique_ptr<postgres::Database> open_pipeline(Service& service,
                                                  const config::Postgres& settings,
                                                  std::string_view use, postgres::Commit commit,
                                                  bool pinned = true);
/// As millrace_app: product tables, one tenant a transaction.
std::unique_ptr<postgres::Database> open_app(Service& service, const config::Postgres& settings);
std::unique_ptr<kafka::Producer> open_producer(Service& service, const config::Kafka& settings);

struct Redis {
    std::unique_ptr<redis::Client> client;
    std::unique_ptr<redis::Subscriber> subscriber;
};
Redis open_redis(Service& service, const config::Redis& settings);

}  // namespace millrace::service
