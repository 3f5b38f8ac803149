#include "workers/scheduler/process.hpp"

#include "shared/providers/objects/objects.hpp"
#include "shared/service/stores.hpp"
#include "workers/scheduler/scheduler.hpp"

namespace millrace::workers::scheduler {

using namespace std::chrono_literals;

Config Config::read(config::Loader& in) {
    return {.process = config::Process::read(in, "scheduler-1"),
            .postgres = config::Postgres::read(in),
            .kafka = config::Kafka::read(in),
            .objects = config::Objects::read(in),
            .object_sweep = config::ObjectSweep::read(in)};
}

Task<Result<void>> run_scheduler(service::Service& service, Config config) {
    CO_TRY(const auto catalog,
           events::Catalog::load(config.kafka.topics_file, config.kafka.topic_suffix));
    // Plans are not pinned: the sweeps are meant to scan.
    auto db =
        service::open_pipeline(service, config.postgres, "", postgres::Commit::durable, false);
    auto producer = service::open_producer(service, config.kafka);
    async::Pool files_pool(1);
    auto http = http_client::make_client(service.executor(), {});
    auto objects =
        providers::objects::make_store(service.executor(), files_pool, *http, config.objects);
    service.ready_check("postgres", [&db] { return db->connected(); });

    {
        auto tasks = service.make_group();
        domain::jobs::Publisher publisher(tasks, *producer, *db, catalog);
        Scheduler scheduler(
            tasks, *db, publisher, *objects, catalog, service.metrics(),
            {.object_sweep = config.object_sweep.every, .object_age = config.object_sweep.age});
        tasks.spawn("scheduler", scheduler.run());
        service.ready();
        co_await service.stopping().wait(Deadline::at(base::SteadyTime::max()));
        co_await publisher.drain(Deadline::in(7s));
        tasks.cancel();
        co_await tasks.join(Deadline::in(10s));
    }
    co_await objects->close();
    co_await db->close();
    co_return Result<void>{};
}

}  // namespace millrace::workers::scheduler
