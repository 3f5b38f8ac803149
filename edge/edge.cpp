#include "edge/edge.hpp"

#include "edge/middleware/pipeline.hpp"
#include "edge/routes.hpp"
#include "shared/object_store/local_store.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::edge {

using namespace std::chrono_literals;
namespace jobs = domain::jobs;

namespace {

constexpr auto k_start_timeout = 60s;

struct Stores {
    std::unique_ptr<postgres::Database> durable;  ///< accepts: commits reach the disk
    std::unique_ptr<postgres::Database>
        background;  ///< outbox deletions and reads: may commit asynchronously
    std::unique_ptr<postgres::Database> app;  ///< product tables
    std::unique_ptr<kafka::Producer> producer;
    std::unique_ptr<redis::Client> redis;
    std::unique_ptr<redis::Subscriber> subscriber;
};

Stores open_stores(service::Service& service, const Config& config) {
    const auto executor = service.executor();
    const auto database = [&](std::string_view use, const std::string& role, bool asynchronous) {
        postgres::Options options{.dsn = config.postgres.dsn,
                                  .role = role,
                                  .application_name = config.process.name + " " + std::string(use),
                                  .statement_timeout = config.postgres.statement_timeout,
                                  .settings = role == "millrace_pipeline"
                                                  ? postgres::pinned_plans()
                                                  : decltype(postgres::pinned_plans()){}};
        if (asynchronous) options.settings.emplace_back("synchronous_commit", "off");
        options.on_event = service.log_events("postgres " + std::string(use));
        return postgres::make_database(executor, std::move(options));
    };
    kafka::ProducerOptions producer{.brokers = config.kafka.brokers,
                                    .client_id = config.process.name,
                                    .message_timeout = config.kafka.message_timeout,
                                    .linger = config.kafka.linger};
    producer.on_event = service.log_events("kafka");
    redis::Options redis{.url = config.redis.url, .client_name = config.process.name};
    redis.on_event = service.log_events("redis");
    return {.durable = database("accept", "millrace_pipeline", false),
            .background = database("background", "millrace_pipeline", true),
            .app = database("app", "millrace_app", false),
            .producer = kafka::make_producer(executor, std::move(producer)),
            .redis = redis::make_client(executor, redis),
            .subscriber = redis::make_subscriber(executor, redis)};
}

server::ServerOptions server_options(const config::Edge& edge) {
    return {.bind_address = edge.address,
            .port = edge.port,
            .connections_max = static_cast<std::size_t>(edge.connections_max),
            .heartbeat = edge.heartbeat,
            .event_streams_max = static_cast<std::size_t>(edge.event_streams_max)};
}

void observe(telemetry::Registry& metrics, const server::Server& server,
             const jobs::Acceptor& acceptor, const jobs::Publisher& publisher) {
    const auto counter = [&metrics](std::string name, std::string help,
                                    std::function<double()> read) {
        metrics.observe(std::move(name), std::move(help), "counter", std::move(read));
    };
    counter("millrace_jobs_accepted_total", "Jobs accepted",
            [&] { return static_cast<double>(acceptor.stats().accepted); });
    counter("millrace_accept_batches_total", "Transactions they took",
            [&] { return static_cast<double>(acceptor.stats().batches); });
    counter("millrace_records_published_total", "Records confirmed by Kafka",
            [&] { return static_cast<double>(publisher.stats().published); });
    counter("millrace_records_failed_total", "Records left to the relay",
            [&] { return static_cast<double>(publisher.stats().failed); });
    metrics.observe("millrace_connections", "Open connections", "gauge",
                    [&] { return static_cast<double>(server.stats().connections); });
    metrics.observe("millrace_event_streams", "Open event streams", "gauge",
                    [&] { return static_cast<double>(server.stats().event_streams); });
}

}  // namespace

namespace {

Task<Result<void>> serve(service::Service& service, const Config& config, Stores& stores,
                         const events::Catalog& catalog) {
    CO_TRY_VOID(co_await stores.durable->wait_connected(Deadline::in(k_start_timeout)));
    CO_TRY_VOID(co_await stores.app->wait_connected(Deadline::in(k_start_timeout)));
    std::vector<std::string> topics;
    for (const auto& topic : catalog.topics()) topics.push_back(topic.name);
    // With the broker away the edge accepts all the same: the relay publishes later.
    (void)co_await stores.producer->warm(topics, Deadline::in(5s));

    auto tasks = service.make_group();
    async::Pool files_pool(2);
    auto objects =
        object_store::make_local_store(service.executor(), files_pool, config.objects.dir);
    jobs::Publisher publisher(tasks, *stores.producer, *stores.background, catalog);
    jobs::Acceptor acceptor(tasks, *stores.durable, publisher);
    jobs::Reader reader(*stores.background);
    jobs::LiveReader live(*stores.redis);
    middleware::JobWatch watch(tasks, *stores.subscriber, reader, {});
    const auto seconds = [](auto span) {
        return std::chrono::duration_cast<std::chrono::seconds>(span);
    };
    middleware::JobGate gate(tasks, acceptor, reader, watch, *stores.redis, catalog,
                             {.hold = seconds(config.edge.hold),
                              .wait_max = seconds(config.edge.wait_max),
                              .idle_cancel = seconds(config.edge.idle_cancel),
                              .base_path = config.edge.base_url,
                              .token_key = config.secrets.key});
    domain::identity::TokenIssuer tokens(config.secrets.key);
    domain::identity::Accounts accounts(service.executor(), *stores.app, tokens);
    domain::knowledge::Files files(*stores.app);

    surfaces::jobs::LiveTails tails({gate, watch, live, *stores.subscriber, tasks});
    surfaces::jobs::Ports job_ports{gate, reader, live, tails, catalog, config.edge.probe};
    surfaces::knowledge::Ports knowledge_ports{accounts,        files,    publisher,
                                               *stores.durable, *objects, gate,
                                               job_ports,       catalog,  config.models.aliases};
    middleware::Pipeline pipeline(all_surfaces(), all_endpoints(job_ports, knowledge_ports), tokens,
                                  service.tracer(), service.metrics(),
                                  {.cors_origins = config.edge.cors_origins});
    auto server = server::make_server(service.executor(), pipeline, server_options(config.edge));
    observe(service.metrics(), *server, acceptor, publisher);
    service.ready();
    telemetry::log::info(
        "listening", {{"address", config.edge.address}, {"port", std::int64_t{server->port()}}});

    co_await service.stopping().wait(Deadline::at(base::SteadyTime::max()));
    const auto grace = Deadline::in(config.process.shutdown_grace);
    gate.drain();
    co_await server->drain(grace);
    co_await server->stop();
    co_await stores.producer->flush(grace.capped(5s));
    co_await publisher.drained(grace.capped(2s));
    accounts.stop();
    tasks.cancel();
    co_await tasks.join(Deadline::in(5s));
    co_return Result<void>{};
}

}  // namespace

Task<Result<void>> run_edge(service::Service& service, const Config& config) {
    CO_TRY(const auto catalog,
           events::Catalog::load(config.kafka.topics_file, config.kafka.topic_suffix));
    if (config.process.development && config.edge.address != "127.0.0.1" &&
        config.edge.address != "::1") {
        co_return fail(ErrorCode::invalid,
                       "MILLRACE_ENVIRONMENT=development listens on loopback only: set "
                       "MILLRACE_EDGE_ADDRESS=127.0.0.1");
    }
    auto stores = open_stores(service, config);
    service.ready_check(
        "postgres", [&stores] { return stores.durable->connected() && stores.app->connected(); });
    auto ended = co_await serve(service, config, stores, catalog);
    co_await stores.app->close();
    co_await stores.background->close();
    co_await stores.durable->close();
    co_return ended;
}

}  // namespace millrace::edge
