#include "shared/service/stores.hpp"

namespace millrace::service {

namespace {

std::unique_ptr<postgres::Database> open(Service& service, const config::Postgres& settings,
                                         std::string_view use, std::string role,
                                         decltype(postgres::pinned_plans()) server_settings) {
    postgres::Options options{.dsn = settings.dsn,
                              .role = std::move(role),
                              .application_name = service.process().name + " " + std::string(use),
                              .statement_timeout = settings.statement_timeout,
                              .settings = std::move(server_settings)};
    options.on_event = service.log_events("postgres " + std::string(use));
    return postgres::make_database(service.executor(), std::move(options));
}

}  // namespace

std::unique_ptr<postgres::Database> open_pipeline(Service& service,
                                                  const config::Postgres& settings,
                                                  std::string_view use, postgres::Commit commit,
                                                  bool pinned) {
    auto server_settings = pinned ? postgres::pinned_plans() : decltype(postgres::pinned_plans()){};
    if (commit == postgres::Commit::asynchronous)
        server_settings.emplace_back("synchronous_commit", "off");
    return open(service, settings, use, "millrace_pipeline", std::move(server_settings));
}

std::unique_ptr<postgres::Database> open_app(Service& service, const config::Postgres& settings) {
    return open(service, settings, "app", "millrace_app", {});
}

std::unique_ptr<kafka::Producer> open_producer(Service& service, const config::Kafka& settings) {
    kafka::ProducerOptions options{.brokers = settings.brokers,
                                   .client_id = service.process().name,
                                   .message_timeout = settings.message_timeout,
                                   .linger = settings.linger};
    options.on_event = service.log_events("kafka producer");
    return kafka::make_producer(service.executor(), std::move(options));
}

Redis open_redis(Service& service, const config::Redis& settings) {
    redis::Options options{.url = settings.url, .client_name = service.process().name};
    options.on_event = service.log_events("redis");
    return {.client = redis::make_client(service.executor(), options),
            .subscriber = redis::make_subscriber(service.executor(), options)};
}

}  // namespace millrace::service
