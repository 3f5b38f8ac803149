#pragma once
// A worker binary in one call: configuration, drivers, the runtime, and the author's handlers.

#include <map>
#include <string>

#include "shared/object_store/object_store.hpp"
#include "shared/service/service.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::runtime {

struct Config {
    config::Process process;
    config::Postgres postgres;
    config::Kafka kafka;
    config::Redis redis;
    config::Worker worker;

    static Config read(config::Loader& in, std::string_view role);
};

/// What handlers may be built from.
struct Resources {
    Executor executor;
    service::Service& service;
    postgres::Database& app;
    redis::Client& redis;
    async::TaskGroup& tasks;
};
using Handlers = std::map<std::string, Handler>;

/// Runs a worker of `role` until the service stops. `make` is called once the drivers are there;
/// what it captures must live until the handlers are destroyed. An Error is the start's failure.
[[nodiscard]] Task<Result<void>> run_worker(service::Service& service, Config config,
                                            std::string role,
                                            std::function<Result<Handlers>(Resources)> make);

}  // namespace millrace::workers::runtime
