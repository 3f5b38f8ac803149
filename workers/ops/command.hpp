#pragma once
// One-shot commands for operators. Every command prints for people, or JSON with --json; exit 0
// only when it did what it says.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "shared/async/offload.hpp"
#include "shared/async/task_group.hpp"
#include "shared/config/groups.hpp"
#include "shared/events/catalog.hpp"
#include "shared/http_client/http_client.hpp"
#include "shared/kafka/reader.hpp"
#include "shared/object_store/object_store.hpp"
#include "shared/postgres/postgres.hpp"
#include "shared/redis/redis.hpp"

namespace millrace::workers::ops {

/// What commands reach the world with; made on first use, from the environment.
class Context {
 public:
    explicit Context(Executor executor);
    ~Context();

    [[nodiscard]] Executor executor() const { return executor_; }
    [[nodiscard]] bool json() const noexcept { return json_; }
    void set_json(bool json) noexcept { json_ = json; }

    /// Who acts: the user of the operating system, or whom --as names.
    [[nodiscard]] std::string actor() const;
    void act_as(std::string name) { actor_ = std::move(name); }

    /// As the owner of the schema: migrations only.
    postgres::Database& owner();
    /// The same, with hours of time and memory for building an index, on one core.
    postgres::Database& builder();
    postgres::Database& pipeline();
    postgres::Database& app();
    /// Reads only, as millrace_pipeline, with minutes of time for statements over all jobs.
    postgres::Database& survey();
    kafka::Admin& kafka();
    kafka::Reader& reader();
    kafka::Producer& producer();
    /// The consumer group of a worker.
    [[nodiscard]] std::string group_of(std::string_view worker) const;
    const events::Catalog& catalog();
    /// Base URL of the public API.
    [[nodiscard]] std::string edge_url() const;
    redis::Client& redis();
    object_store::Store& objects();
    [[nodiscard]] config::Embeddings embeddings() const;
    [[nodiscard]] config::Vectors vectors() const;
    Task<void> close();

 private:
    [[nodiscard]] std::string brokers() const;

    Executor executor_;
    bool json_ = false;
    std::string actor_;
    std::unique_ptr<postgres::Database> owner_, builder_, pipeline_, app_, survey_;
    std::unique_ptr<kafka::Admin> kafka_;
    std::unique_ptr<kafka::Reader> reader_;
    std::unique_ptr<kafka::Producer> producer_;
    std::optional<events::Catalog> catalog_;
    std::unique_ptr<redis::Client> redis_;
    async::Pool files_pool_{1};
    std::unique_ptr<http_client::Client> http_;  ///< of the objects
    std::unique_ptr<object_store::Store> objects_;
};

/// A chosen command, ready to run; the Result's error is printed and decides the exit code.
using Run = std::function<Task<Result<void>>()>;

/// Each adds its commands to the parser; the callback of the one that was chosen sets `run`.
void add_migrate(CLI::App& app, Context& context, Run& run);
void add_topics(CLI::App& app, Context& context, Run& run);
void add_jobs(CLI::App& app, Context& context, Run& run);
void add_import(CLI::App& app, Context& context, Run& run);
void add_search(CLI::App& app, Context& context, Run& run);
void add_vectors(CLI::App& app, Context& context, Run& run);
void add_eval(CLI::App& app, Context& context, Run& run);
void add_verify(CLI::App& app, Context& context, Run& run);
void add_verify_audit(CLI::App& verifying, Context& context, Run& run);
void add_reindex(CLI::App& app, Context& context, Run& run);
void add_redrive(CLI::App& app, Context& context, Run& run);
void add_lag(CLI::App& app, Context& context, Run& run);
void add_tail(CLI::App& app, Context& context, Run& run);
void add_replay(CLI::App& app, Context& context, Run& run);
void add_audit(CLI::App& app, Context& context, Run& run);
void add_users(CLI::App& app, Context& context, Run& run);
void add_budgets(CLI::App& app, Context& context, Run& run);
void add_sweep(CLI::App& app, Context& context, Run& run);
void add_backup(CLI::App& app, Context& context, Run& run);

}  // namespace millrace::workers::ops
