#pragma once
#include "shared/service/service.hpp"

namespace millrace::workers::scheduler {

struct Config {
    config::Process process;
    config::Postgres postgres;
    config::Kafka kafka;
    config::Objects objects;
    config::ObjectSweep object_sweep;

    static Config read(config::Loader& in);
};

/// Leads or stands by until the service stops.
[[nodiscard]] Task<Result<void>> run_scheduler(service::Service& service, Config config);

}  // namespace millrace::workers::scheduler
