#include "shared/service/service.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/basic_signal_set.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>

#include "shared/base/crypto.hpp"
#include "shared/base/failpoint.hpp"
#include "shared/http_client/http_client.hpp"
#include "shared/service/health.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::service {

namespace {

constexpr auto k_loop_tick = std::chrono::milliseconds(500);
constexpr auto k_export_every = std::chrono::milliseconds(1000);
constexpr auto k_export_timeout = std::chrono::seconds(5);
constexpr std::size_t k_export_max = 512;
constexpr auto k_tidy_up = std::chrono::seconds(5);

telemetry::log::Level level_of(std::string_view name) {
    using telemetry::log::Level;
    return name == "debug"     ? Level::debug
           : name == "warning" ? Level::warning
           : name == "error"   ? Level::error
                               : Level::info;
}

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double resident_bytes() {
    std::ifstream file("/proc/self/statm");
    long pages = 0;
    file >> pages >> pages;
    return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

}  // namespace

class Service::Health : public HealthServer {
    using HealthServer::HealthServer;
};

Service::Service(const config::Process& process, std::string program)
    : process_(process),
      program_(std::move(program)),
      tracer_(!process.otlp_url.empty()),
      tasks_(make_group()),
      stopping_(executor()) {
    telemetry::log::configure(process_.name, level_of(process_.log_level));
    if (auto plan = base::failpoint::parse(process_.failpoint)) {
        telemetry::log::warning("a failpoint is armed", {{"plan", process_.failpoint}});
        base::failpoint::arm(std::move(*plan));
    }
    metrics_.observe("process_cpu_seconds_total", "User and system CPU time", "counter",
                     cpu_seconds);
    metrics_.observe("process_resident_memory_bytes", "Resident memory", "gauge", resident_bytes);
    metrics_.observe("millrace_spans_dropped_total", "Spans that nobody took in time", "counter",
                     [this] { return static_cast<double>(tracer_.dropped()); });
}

Service::~Service() = default;

async::TaskGroup Service::make_group() {
    return {executor(), [](const std::string& name, const std::string& what) {
                telemetry::log::error("a task died", {{"task", name}, {"cause", what}});
            }};
}

void Service::ready_check(std::string name, std::function<bool()> check) {
    checks_.emplace_back(std::move(name), std::move(check));
}

std::function<void(std::string)> Service::log_events(std::string driver) const {
    return [driver = std::move(driver)](const std::string& what) {
        telemetry::log::warning("driver event", {{"driver", driver}, {"event", what}});
    };
}

Task<void> Service::watch_signals() {
    boost::asio::basic_signal_set<Executor> signals(executor(), SIGINT, SIGTERM);
    (void)co_await signals.async_wait(async::use_result);
    telemetry::log::info("stopping", {});
    not_ready();
    stopping_.set();
    (void)co_await signals.async_wait(async::use_task);
    telemetry::log::warning("cut short by a second signal", {});
    _exit(130);
}

/// How late the loop is: a handler that blocks shows here.
Task<void> Service::watch_loop() {
    auto& lag = metrics_.gauge("millrace_loop_lag_seconds",
                               "How late the event loop was at its last tick", {});
    for (;;) {
        const auto due = std::chrono::steady_clock::now() + k_loop_tick;
        co_await async::delay(executor(), k_loop_tick);
        lag.set(std::chrono::duration<double>(std::chrono::steady_clock::now() - due).count());
    }
}

Task<void> Service::export_spans() {
    auto client = http_client::make_client(executor(), {});
    auto& failed = metrics_.counter("millrace_span_exports_failed_total",
                                    "Exports that the trace collector did not take", {});
    for (;;) {
        auto spans = tracer_.take(k_export_max);
        if (!spans.empty()) {
            http_client::Request request{.method = "POST",
                                         .url = process_.otlp_url,
                                         .headers = {{"Content-Type", "application/json"}},
                                         .body = telemetry::otlp_json(spans, program_),
                                         .profile = http_client::Profile::operator_configured};
            const auto sent =
                co_await client->send(std::move(request), Deadline::in(k_export_timeout));
            if (!sent || sent->status >= 300) failed.add();
        }
        if (tracer_.waiting() >= k_export_max) continue;
        co_await async::delay(executor(), k_export_every);
    }
}

Task<void> Service::main(std::function<Task<Result<void>>()> body) {
    health_ = std::make_unique<Health>(
        executor(), process_.metrics_address, process_.metrics_port,
        HealthServer::Answers{.ready =
                                  [this] {
                                      std::vector<std::string> failing;
                                      if (!started_) failing.emplace_back("starting");
                                      if (draining_) failing.emplace_back("stopping");
                                      for (const auto& [name, check] : checks_) {
                                          if (!check()) failing.push_back(name);
                                      }
                                      return failing;
                                  },
                              .metrics = [this] { return metrics_.text(); }});
    tasks_.spawn("health", health_->serve());
    tasks_.spawn("signals", watch_signals());
    tasks_.spawn("loop lag", watch_loop());
    if (tracer_.enabled()) tasks_.spawn("span export", export_spans());
    try {
        const auto ended = co_await body();
        if (!ended) {
            telemetry::log::error(
                "ended",
                {{"cause", ended.error().log.empty() ? ended.error().detail : ended.error().log}});
            exit_code_ = 1;
        }
    } catch (const std::exception& e) {
        telemetry::log::error("ended by an exception", {{"cause", e.what()}});
        exit_code_ = 1;
    }
    if (tracer_.enabled() && tracer_.waiting() > 0)
        co_await async::delay(executor(), 2 * k_export_every);
    tasks_.cancel();
    if (!co_await tasks_.join(Deadline::in(k_tidy_up))) {
        telemetry::log::error("tasks did not end",
                              {{"tasks", static_cast<std::int64_t>(tasks_.size())}});
        _exit(exit_code_ == 0 ? 1 : exit_code_);
    }
    health_.reset();
}

int Service::run(std::function<Task<Result<void>>()> body) {
    std::signal(SIGPIPE, SIG_IGN);
    boost::asio::co_spawn(executor(), main(std::move(body)), boost::asio::detached);
    // The lines of one turn of the loop are one write.
    telemetry::log::defer(
        [this] { boost::asio::post(executor(), [] { telemetry::log::flush(); }); });
    io_.run();
    telemetry::log::defer(nullptr);
    return exit_code_;
}

bool start_up(int argc, char** argv, std::string_view program, config::Loader& loader,
              int& exit_code) {
    base::crypto_init();
    loader.refuse_unknown(config::known_names());
    const std::string_view option = argc > 1 ? argv[1] : "";
    if (option == "--help" || option == "--version") {
        fmt::print("{} {}\n", program, MILLRACE_VERSION);
        if (option == "--version") return false;
        fmt::print("\nConfigured by the environment:\n");
        for (const auto& s : loader.settings()) {
            fmt::print("  {:<32} {}{}\n", s.name, s.meaning,
                       s.otherwise.empty() ? "" : fmt::format(" (default {})", s.otherwise));
        }
        fmt::print("\nOptions: --check-config, --help, --version\n");
        return false;
    }
    if (!option.empty() && option != "--check-config") {
        fmt::print(stderr, "{}: unknown option {}; see --help\n", program, option);
        exit_code = 2;
        return false;
    }
    if (!loader.problems().empty()) {
        fmt::print(stderr, "{}: the configuration has {} problem(s):\n", program,
                   loader.problems().size());
        for (const auto& problem : loader.problems()) fmt::print(stderr, "  {}\n", problem);
        exit_code = 1;
        return false;
    }
    if (option == "--check-config") {
        for (const auto& s : loader.settings()) fmt::print("{}={}\n", s.name, s.value);
        return false;
    }
    return true;
}

}  // namespace millrace::service
