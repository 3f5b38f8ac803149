#include "edge/edge.hpp"

#include "edge/middleware/memory_guard.hpp"
#include "edge/middleware/pipeline.hpp"
#include "edge/routes.hpp"
#include "shared/providers/objects/objects.hpp"
#include "shared/service/stores.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::edge {

using namespace std::chrono_literals;
namespace jobs = domain::jobs;

namespace {

constexpr auto k_start_timeout = 60s;
constexpr auto k_memory_check = 500ms;

struct Stores {
    std::unique_ptr<postgres::Database> durable;     ///< accepts: commits reach the disk
    std::unique_ptr<postgres::Database> background;  ///< outbox deletions and reads
    std::unique_ptr<postgres::Database> app;
    std::unique_ptr<kafka::Producer> producer;
    service::Redis redis;
};

Stores open_stores(service::Service& service, const Config& config) {
    using enum postgres::Commit;
    return {
        .durable = service::open_pipeline(service, config.postgres, "accept", durable),
        .background = service::open_pipeline(service, config.postgres, "background", asynchronous),
        .app = service::open_app(service, config.postgres),
        .producer = service::open_producer(service, config.kafka),
        .redis = service::open_redis(service, config.redis)};
}

server::ServerOptions server_options(const config::Edge& edge) {
    return {.bind_address = edge.address,
            .port = edge.port,
            .connections_max = static_cast<std::size_t>(edge.connections_max),
            .connections_per_address_max = static_cast<std::size_t>(edge.connections_per_ip),
            .header_timeout = edge.header_timeout,
            .body_timeout = edge.body_timeout,
            .idle_timeout = edge.idle_timeout,
            .send_timeout = edge.send_timeout,
            .heartbeat = edge.heartbeat,
            .event_streams_max = static_cast<std::size_t>(edge.event_streams_max)};
}

middleware::AdmissionOptions admission_options(const config::Edge& edge) {
    const auto places = [](std::int64_t value) { return static_cast<std::size_t>(value); };
    return {.places_min = places(edge.places_min),
            .places_max = places(std::max(edge.places_min, edge.places_max)),
            .waiting_max = places(edge.waiting_max),
            .uploads_max = places(edge.uploads_max),
            .visitors_max = places(edge.visitors_max),
            .tenant_rate = static_cast<double>(edge.tenant_rate),
            .headroom = edge.latency_headroom,
            .wait_burst = edge.wait_burst,
            .wait_overloaded = edge.wait_overloaded};
}

surfaces::knowledge::Deployment knowledge_deployment(const Config& config) {
    const auto& chain = config.models.chain;
    const auto& embedding = config.embeddings.provider;
    return {.public_url = config.edge.public_url,
            .llm_model = chain.empty() ? std::string(config::k_local_model) : chain.front().model,
            .embedding_model = embedding.url.empty() ? "bm25" : embedding.model,
            .auth_rate = static_cast<int>(config.edge.auth_rate),
            .chat_rate = static_cast<int>(config.edge.chat_rate),
            .upload_rate = static_cast<int>(config.edge.upload_rate),
            .storage_max = config.edge.tenant_storage_mib << 20};
}

/// Null: not configured.
std::unique_ptr<providers::payments::Payments> make_payments(http_client::Client& http,
                                                             const config::Payments& payments) {
    if (payments.key.empty()) return nullptr;
    providers::payments::StripeOptions options{.base_url = payments.url, .key = payments.key};
    for (const auto& price : payments.prices) {
        const auto equals = price.find('=');
        options.prices.emplace(price.substr(0, equals), price.substr(equals + 1));
    }
    return providers::payments::make_stripe(http, std::move(options));
}

void observe_admission(telemetry::Registry& metrics, const middleware::Admission& admission) {
    const auto gauge = [&](std::string name, std::string help, auto read) {
        metrics.observe(std::move(name), std::move(help), "gauge", [&admission, read] {
            return static_cast<double>(read(admission.stats()));
        });
    };
    gauge("millrace_places", "Requests that may be at work at once",
          [](const auto& stats) { return stats.places; });
    gauge("millrace_requests_in_flight", "Requests at work",
          [](const auto& stats) { return stats.in_flight; });
    gauge("millrace_requests_waiting", "Requests that wait for a place",
          [](const auto& stats) { return stats.waiting; });
    metrics.observe("millrace_requests_shed_total", "Requests refused because the edge was full",
                    "counter",
                    [&admission] { return static_cast<double>(admission.stats().shed_full); });
    metrics.observe("millrace_requests_over_share_total",
                    "Requests refused because their tenant had its share", "counter",
                    [&admission] { return static_cast<double>(admission.stats().shed_share); });
}

/// Memory that runs short stops what is new before the kernel stops everything.
Task<void> watch_memory(Executor executor, server::Server& server, middleware::Admission& admission,
                        std::uint64_t bytes_max) {
    auto before = server::Pressure::none;
    for (;;) {
        const auto resident = middleware::resident_bytes();
        const auto pressure = middleware::pressure_of(resident, bytes_max);
        server.set_pressure(pressure);
        admission.refuse_uploads(pressure != server::Pressure::none);
        if (pressure > before)
            telemetry::log::warning("memory is short",
                                    {{"resident_bytes", static_cast<std::int64_t>(resident)}});
        before = pressure;
        co_await async::delay(executor, k_memory_check);
    }
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
    const auto proxies = middleware::TrustedProxies::parse(config.edge.trusted_proxies);
    if (!proxies) {
        co_return fail(
            ErrorCode::invalid,
            "MILLRACE_TRUSTED_PROXIES: must be addresses or networks such as 10.0.0.0/8");
    }
    CO_TRY_VOID(co_await stores.durable->wait_connected(Deadline::in(k_start_timeout)));
    CO_TRY_VOID(co_await stores.app->wait_connected(Deadline::in(k_start_timeout)));
    std::vector<std::string> topics;
    for (const auto& topic : catalog.topics()) topics.push_back(topic.name);
    // With the broker away the edge accepts all the same: the relay publishes later.
    (void)co_await stores.producer->warm(topics, Deadline::in(5s));

    auto tasks = service.make_group();
    async::Pool files_pool(2);
    auto http = http_client::make_client(service.executor(), {});
    auto objects =
        providers::objects::make_store(service.executor(), files_pool, *http, config.objects);
    jobs::Publisher publisher(tasks, *stores.producer, *stores.background, catalog);
    jobs::Acceptor acceptor(tasks, *stores.durable, publisher);
    jobs::Reader reader(*stores.background);
    jobs::LiveReader live(*stores.redis.client);
    middleware::JobWatch watch(tasks, *stores.redis.subscriber, reader, {});
    const auto seconds = [](auto span) {
        return std::chrono::duration_cast<std::chrono::seconds>(span);
    };
    middleware::JobGate gate(tasks, acceptor, publisher, reader, watch, *stores.redis.client,
                             catalog,
                             {.hold = seconds(config.edge.hold),
                              .wait_max = seconds(config.edge.wait_max),
                              .idle_cancel = seconds(config.edge.idle_cancel),
                              .base_path = config.edge.base_url,
                              .token_key = config.secrets.key});
    const domain::identity::TokenIssuer tokens(config.secrets.all());
    domain::identity::Passwords passwords(service.executor());
    const domain::identity::RefreshTokens refresh_tokens(*stores.app, tokens, config.secrets.all());
    domain::identity::Accounts accounts(*stores.app, passwords, refresh_tokens);
    domain::identity::Tenants tenants(*stores.app, passwords);
    domain::identity::Challenges challenges(*stores.app, config.secrets.key);
    domain::identity::Credentials credentials(tasks, *stores.app, tokens);
    domain::identity::WidgetKeys widget_keys(*stores.app, config.secrets.all());
    domain::audit::Log audit(*stores.app);
    middleware::RateLimits limits(*stores.redis.client);
    middleware::StoredAnswers answers(*stores.durable);
    domain::identity::DevelopmentUsers development_users(*stores.app);
    domain::knowledge::Files files(*stores.app);
    domain::knowledge::IndexGenerations generations(*stores.app);
    domain::billing::ProviderKeys provider_keys(*stores.app, config.secrets.all());
    const auto payments = make_payments(*http, config.payments);
    const web::Assets assets(config.edge.docs_dir);

    surfaces::jobs::LiveTails tails({gate, watch, live, *stores.redis.subscriber, tasks});
    surfaces::jobs::Ports job_ports{gate, reader, live, tails, catalog, config.edge.probe};
    const auto deployment = knowledge_deployment(config);
    const domain::mail::Post post{*stores.app, publisher, catalog, config.secrets.key};
    domain::diary::TotpDevices devices(post, config.secrets.all());
    domain::diary::Accounts diary_accounts(
        {passwords, challenges, devices, post, config.edge.public_url});
    const bool development = config.process.development;
    const Ports ports{
        .jobs = job_ports,
        .knowledge = {.deployment = deployment,
                      .accounts = accounts,
                      .refresh_tokens = refresh_tokens,
                      .challenges = challenges,
                      .tenants = tenants,
                      .widget_keys = widget_keys,
                      .post = post,
                      .app = *stores.app,
                      .limits = limits,
                      .files = files,
                      .generations = generations,
                      .publisher = publisher,
                      .pipeline = *stores.durable,
                      .objects = *objects,
                      .gate = gate,
                      .jobs = job_ports,
                      .catalog = catalog,
                      .models = config.models.aliases,
                      .provider_keys = provider_keys,
                      .payments = payments.get(),
                      .assets = assets},
        .diary = {diary_accounts, devices, *stores.app, limits},
        .karte = {*stores.app,
                  challenges,
                  tokens,
                  post,
                  limits,
                  config.edge.public_url,
                  {.checkout = config.karte.checkout_url, .success = config.karte.success_url}},
        .planner = {*stores.app, challenges, post, limits, development},
        .habits = {*stores.app}};
    middleware::Admission admission(service.executor(), admission_options(config.edge));
    middleware::Pipeline pipeline(
        all_surfaces(development), all_endpoints(ports), credentials, widget_keys, audit, limits,
        answers, admission, service.tracer(), service.metrics(),
        {.cors_origins = config.edge.cors_origins,
         .proxies = *proxies,
         .development_users = development ? &development_users : nullptr});
    auto server = server::make_server(service.executor(), pipeline, server_options(config.edge));
    observe(service.metrics(), *server, acceptor, publisher);
    observe_admission(service.metrics(), admission);
    tasks.spawn("thread watch", admission.watch_thread());
    tasks.spawn("memory",
                watch_memory(service.executor(), *server, admission,
                             static_cast<std::uint64_t>(config.edge.memory_max_mib) << 20));
    service.ready();
    telemetry::log::info(
        "listening", {{"address", config.edge.address}, {"port", std::int64_t{server->port()}}});

    co_await service.stopping().wait(Deadline::at(base::SteadyTime::max()));
    const auto grace = Deadline::in(config.process.shutdown_grace);
    gate.drain();
    co_await server->drain(grace);
    co_await server->stop();
    co_await objects->close();
    co_await publisher.drain(grace.capped(7s));
    passwords.stop();
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
