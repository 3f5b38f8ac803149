#pragma once
// The skeleton of every process: configuration, one io_context, signals, background tasks, health
// and metrics, traces.

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shared/async/task_group.hpp"
#include "shared/config/groups.hpp"
#include "shared/telemetry/metrics.hpp"
#include "shared/telemetry/trace.hpp"

namespace millrace::service {

class Service {
 public:
    explicit Service(const config::Process& process, std::string program);
    ~Service();
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    [[nodiscard]] Executor executor() { return io_.get_executor(); }
    /// A group whose children's deaths are logged; its owner joins it.
    [[nodiscard]] async::TaskGroup make_group();
    /// Set by the first SIGINT or SIGTERM. A second one ends the process at once.
    async::Event& stopping() noexcept { return stopping_; }
    telemetry::Registry& metrics() noexcept { return metrics_; }
    telemetry::Tracer& tracer() noexcept { return tracer_; }
    [[nodiscard]] const config::Process& process() const noexcept { return process_; }

    /// /readyz is 200 from ready() to not_ready(), while every check says true.
    void ready_check(std::string name, std::function<bool()> check);
    void ready() noexcept { started_ = true; }
    /// From now on /readyz is 503, whatever the checks say.
    void not_ready() noexcept { draining_ = true; }
    /// A driver's on_event hook: its connections lost and made, as warnings.
    [[nodiscard]] std::function<void(std::string)> log_events(std::string driver) const;

    /// Runs `body` on the io_context until it returns, then cancels what is left. The process's
    /// exit code: 0, or 1 when the body failed.
    int run(std::function<Task<Result<void>>()> body);

 private:
    class Health;
    Task<void> watch_signals();
    Task<void> export_spans();
    Task<void> watch_loop();
    Task<void> main(std::function<Task<Result<void>>()> body);

    config::Process process_;
    std::string program_;
    boost::asio::io_context io_{1};
    telemetry::Registry metrics_;
    telemetry::Tracer tracer_;
    async::TaskGroup tasks_;  ///< the skeleton's own
    async::Event stopping_;
    std::vector<std::pair<std::string, std::function<bool()>>> checks_;
    std::unique_ptr<Health> health_;
    bool started_ = false, draining_ = false;
    int exit_code_ = 0;
};

/// What a main does first: handles --check-config, --version and --help, reads the configuration
/// with `read`, and lists *all* of its problems on stderr. nullopt: exit with `exit_code`.
template <class Config>
std::optional<Config> load_config(int argc, char** argv, std::string_view program, int& exit_code,
                                  Config (*read)(config::Loader&));

/// The non-template part: true when the process is to go on.
bool start_up(int argc, char** argv, std::string_view program, config::Loader& loader,
              int& exit_code);

template <class Config>
std::optional<Config> load_config(int argc, char** argv, std::string_view program, int& exit_code,
                                  Config (*read)(config::Loader&)) {
    config::Loader loader;
    Config config = read(loader);
    if (!start_up(argc, argv, program, loader, exit_code)) return std::nullopt;
    return config;
}

}  // namespace millrace::service
