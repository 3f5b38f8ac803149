#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <array>

#include "shared/providers/objects/objects.hpp"
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

namespace {

/// Commands need different parts of the configuration: each asks for its own, and a missing one is
/// told by name.
std::string need(const char* name, const char* meaning) {
    config::Loader loader;
    auto value = loader.required(name, meaning);
    if (!loader.problems().empty())
        throw std::runtime_error(loader.problems().front() + " ('. .millrace/env' sets it)");
    return value;
}

std::unique_ptr<postgres::Database> open(
    Executor executor, std::string dsn, std::string role, std::chrono::milliseconds timeout,
    std::vector<std::pair<std::string, std::string>> settings = {}) {
    return postgres::make_database(executor, {.dsn = std::move(dsn),
                                              .role = std::move(role),
                                              .application_name = "millrace-ops",
                                              .statement_timeout = timeout,
                                              .lock_timeout = timeout,
                                              .settings = std::move(settings)});
}

}  // namespace

std::string Context::brokers() const {
    return need("MILLRACE_KAFKA_BROKERS", "host:port, separated by commas");
}

Context::Context(Executor executor) : executor_(std::move(executor)) {}
Context::~Context() = default;

postgres::Database& Context::owner() {
    using namespace std::chrono_literals;
    if (!owner_)
        owner_ =
            open(executor_,
                 need("MILLRACE_PG_ADMIN_DSN", "the connection string of the owner of the schema"),
                 "", 60s);
    return *owner_;
}

postgres::Database& Context::builder() {
    using namespace std::chrono_literals;
    if (!builder_)
        builder_ = open(
            executor_,
            need("MILLRACE_PG_ADMIN_DSN", "the connection string of the owner of the schema"), "",
            6h, {{"maintenance_work_mem", "512MB"}, {"max_parallel_maintenance_workers", "0"}});
    return *builder_;
}

postgres::Database& Context::pipeline() {
    using namespace std::chrono_literals;
    if (!pipeline_)
        pipeline_ = open(executor_, need("MILLRACE_PG_DSN", "the PostgreSQL connection string"),
                         "millrace_pipeline", 10s);
    return *pipeline_;
}

postgres::Database& Context::app() {
    using namespace std::chrono_literals;
    if (!app_)
        app_ = open(executor_, need("MILLRACE_PG_DSN", "the PostgreSQL connection string"),
                    "millrace_app", 10s);
    return *app_;
}

postgres::Database& Context::survey() {
    using namespace std::chrono_literals;
    if (!survey_)
        survey_ = open(executor_, need("MILLRACE_PG_DSN", "the PostgreSQL connection string"),
                       "millrace_pipeline", 30min,
                       {{"default_transaction_read_only", "on"},
                        {"default_transaction_isolation", "repeatable read"}});
    return *survey_;
}

kafka::Admin& Context::kafka() {
    if (!kafka_) kafka_ = kafka::make_admin(brokers());
    return *kafka_;
}

kafka::Reader& Context::reader() {
    if (!reader_) reader_ = kafka::make_reader(brokers());
    return *reader_;
}

kafka::Producer& Context::producer() {
    if (!producer_)
        producer_ = kafka::make_producer(executor_, {.brokers = brokers(),
                                                     .client_id = "millrace-ops",
                                                     .message_timeout = std::chrono::seconds(20)});
    return *producer_;
}

std::string Context::group_of(std::string_view worker) const {
    config::Loader loader;
    return fmt::format("millrace-{}{}", worker, loader.text("MILLRACE_TOPIC_SUFFIX", "", ""));
}

std::string Context::actor() const {
    if (!actor_.empty()) return actor_;
    std::array<char, 4096> text{};
    passwd user{};
    passwd* found = nullptr;
    const bool known =
        ::getpwuid_r(::getuid(), &user, text.data(), text.size(), &found) == 0 && found != nullptr;
    return known ? user.pw_name : fmt::format("uid {}", ::getuid());
}

const events::Catalog& Context::catalog() {
    if (catalog_) return *catalog_;
    config::Loader loader;
    auto loaded = events::Catalog::load(loader.text("MILLRACE_TOPICS_FILE", "", ""),
                                        loader.text("MILLRACE_TOPIC_SUFFIX", "", ""));
    if (!loaded) throw std::runtime_error(loaded.error().detail);
    return catalog_.emplace(std::move(*loaded));
}

std::string Context::edge_url() const {
    return need("MILLRACE_EDGE_URL", "the base URL of an edge");
}

redis::Client& Context::redis() {
    if (!redis_)
        redis_ = redis::make_client(
            executor_,
            {.url = need("MILLRACE_REDIS_URL", "the URL of Redis"), .client_name = "millrace-ops"});
    return *redis_;
}

object_store::Store& Context::objects() {
    if (objects_) return *objects_;
    config::Loader loader;
    const auto where = config::Objects::read(loader);
    if (!loader.problems().empty())
        throw std::runtime_error(loader.problems().front() + " ('. .millrace/env' sets it)");
    http_ = http_client::make_client(executor_, {});
    objects_ = providers::objects::make_store(executor_, files_pool_, *http_, where);
    return *objects_;
}

config::Embeddings Context::embeddings() const {
    config::Loader loader;
    return config::Embeddings::read(loader);
}

config::Vectors Context::vectors() const {
    config::Loader loader;
    auto read = config::Vectors::read(loader);
    if (!loader.problems().empty()) throw std::runtime_error(loader.problems().front());
    return read;
}

Task<void> Context::close() {
    if (objects_) co_await objects_->close();
    redis_.reset();
    producer_.reset();  // whoever published has waited for the reports
    for (auto* db : {owner_.get(), builder_.get(), pipeline_.get(), app_.get(), survey_.get()}) {
        if (db) co_await db->close();
    }
}

}  // namespace millrace::workers::ops
