#include "workers/runtime/process.hpp"

#include <atomic>
#include <thread>

#include "shared/service/stores.hpp"
#include "shared/telemetry/log.hpp"
#include "workers/runtime/worker.hpp"

namespace millrace::workers::runtime {

using namespace std::chrono_literals;
namespace jobs = domain::jobs;

namespace {

constexpr auto k_start_timeout = 60s;

struct Stores {
    std::unique_ptr<postgres::Database> durable, claims, app;
    std::unique_ptr<kafka::Producer> producer;
    std::unique_ptr<kafka::Consumer> consumer;
    service::Redis redis;
};

Stores open_stores(service::Service& service, const Config& config, const events::Catalog& catalog,
                   const std::string& role) {
    using enum postgres::Commit;
    kafka::ConsumerOptions consumer{.brokers = config.kafka.brokers,
                                    .client_id = config.process.name,
                                    .group = "millrace-" + role + config.kafka.topic_suffix,
                                    .instance = config.process.name,
                                    .topics = catalog.topics_of_worker(role)};
    consumer.on_event = service.log_events("kafka consumer");
    return {.durable = service::open_pipeline(service, config.postgres, "durable", durable),
            .claims = service::open_pipeline(service, config.postgres, "claims", asynchronous),
            .app = service::open_app(service, config.postgres),
            .producer = service::open_producer(service, config.kafka),
            .consumer = kafka::make_consumer(service.executor(), std::move(consumer)),
            .redis = service::open_redis(service, config.redis)};
}

/// A handler that blocks the loop blocks everything that could notice it; this thread ends the
/// process instead, and the scheduler gives its jobs to others.
class Watchdog {
 public:
    explicit Watchdog(std::chrono::milliseconds limit)
        : limit_(limit), thread_([this](const std::stop_token& stop) { watch(stop); }) {}
    void beat() noexcept { beats_.fetch_add(1, std::memory_order_relaxed); }

 private:
    void watch(const std::stop_token& stop) {
        auto last = beats_.load();
        auto since = std::chrono::steady_clock::now();
        while (!stop.stop_requested()) {
            std::this_thread::sleep_for(200ms);  // a thread of its own: there is no loop to wait on
            const auto now = std::chrono::steady_clock::now();
            if (const auto beats = beats_.load(); beats != last) {
                last = beats;
                since = now;
            } else if (now - since > limit_) {
                telemetry::log::error("the event loop is stuck: ending this process", {});
                std::_Exit(70);
            }
        }
    }

    std::atomic<std::uint64_t> beats_ = 0;
    std::chrono::milliseconds limit_;
    std::jthread thread_;
};

Task<void> beat(Executor executor, Watchdog& watchdog) {
    for (;;) {
        watchdog.beat();
        co_await async::delay(executor, 200ms);
    }
}

Task<Result<void>> serve(service::Service& service, const Config& config, const std::string& role,
                         Stores& stores, const events::Catalog& catalog,
                         const domain::billing::Prices& prices,
                         const std::function<Result<Handlers>(Resources)>& make) {
    for (auto* db : {stores.durable.get(), stores.claims.get(), stores.app.get()}) {
        CO_TRY_VOID(co_await db->wait_connected(Deadline::in(k_start_timeout)));
    }
    auto tasks = service.make_group();
    CO_TRY(auto handlers,
           make({service.executor(), service, *stores.app, *stores.redis.client, tasks}));
    jobs::Lifecycle lifecycle(*stores.claims, *stores.durable);
    jobs::Publisher publisher(tasks, *stores.producer, *stores.claims, catalog);
    const auto lease = std::chrono::duration_cast<std::chrono::seconds>(config.worker.lease);
    Worker worker(service.executor(), tasks,
                  {.settle = {*stores.app, lifecycle, publisher, *stores.producer,
                              *stores.redis.client, catalog},
                   .consumer = *stores.consumer,
                   .subscriber = *stores.redis.subscriber,
                   .durable = *stores.durable,
                   .claims = *stores.claims,
                   .tracer = service.tracer(),
                   .metrics = service.metrics(),
                   .prices = prices},
                  std::move(handlers),
                  {.membership = {.name = config.process.name,
                                  .role = role,
                                  .lease = lease,
                                  .renew_every = config.worker.lease / 5},
                   .concurrency = static_cast<std::size_t>(config.worker.concurrency),
                   .claimed_max = static_cast<std::size_t>(config.worker.claimed_max),
                   .fetch_max = static_cast<std::size_t>(config.worker.fetch_max)});
    Watchdog watchdog(config.worker.lease * 2);
    tasks.spawn("watchdog beat", beat(service.executor(), watchdog));
    auto ended = co_await worker.join(Deadline::in(k_start_timeout));
    if (ended) {
        service.ready();
        telemetry::log::info("working", {{"role", role}});
        ended = co_await worker.run(
            service.stopping(),
            std::chrono::duration_cast<std::chrono::seconds>(config.process.shutdown_grace));
    }
    co_await publisher.drain(Deadline::in(7s));
    tasks.cancel();
    co_await tasks.join(Deadline::in(5s));
    co_return ended;
}

}  // namespace

Config Config::read(config::Loader& in, std::string_view role) {
    return {.process = config::Process::read(in, std::string(role) + "-1"),
            .postgres = config::Postgres::read(in),
            .kafka = config::Kafka::read(in),
            .redis = config::Redis::read(in),
            .worker = config::Worker::read(in)};
}

Task<Result<void>> run_worker(service::Service& service, Config config, std::string role,
                              std::function<Result<Handlers>(Resources)> make) {
    CO_TRY(const auto catalog,
           events::Catalog::load(config.kafka.topics_file, config.kafka.topic_suffix));
    CO_TRY(const auto prices, domain::billing::Prices::load(config.worker.prices_file));
    auto stores = open_stores(service, config, catalog, role);
    service.ready_check(
        "postgres", [&stores] { return stores.durable->connected() && stores.app->connected(); });
    auto ended = co_await serve(service, config, role, stores, catalog, prices, make);
    for (auto* db : {stores.app.get(), stores.claims.get(), stores.durable.get()})
        co_await db->close();
    co_return ended;
}

}  // namespace millrace::workers::runtime
