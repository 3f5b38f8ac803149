// engineering S13: what a program inside the sandbox can and cannot do.

#include <doctest/doctest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <cerrno>
#include <fstream>
#include <string>
#include <thread>

#include "shared/sandbox/bubblewrap.hpp"
#include "tests/support/run_task.hpp"

using namespace millrace;
using namespace std::chrono_literals;
using sandbox::Bubblewrap;
using sandbox::Command;
using sandbox::Output;
using tests::run_task;

namespace {

const std::filesystem::path k_escape = MILLRACE_SANDBOX_ESCAPE;

struct Bench {
    asio::io_context io{1};
    Bubblewrap sandbox;

    explicit Bench(sandbox::BubblewrapOptions options = {})
        : sandbox(io.get_executor(), std::move(options)) {
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    }

    Result<Output> run(Command command, std::chrono::milliseconds span = 10s) {
        return run_task(io, sandbox.run(std::move(command), Deadline::in(span)));
    }
    Result<Output> attempt(const char* what, std::chrono::milliseconds span = 10s) {
        return run(
            {.argv = {k_escape.string(), what}, .input = "/dev/null", .read_only = {k_escape}},
            span);
    }
};

std::string said(const Result<Output>& result) {
    REQUIRE_MESSAGE(result, result.error().log);
    CHECK_MESSAGE(result->exit_code == 0, result->err);
    return result->out.substr(0, result->out.find('\n'));
}

/// Nobody is left: this process has asked to inherit orphans, so that none escapes the count.
bool no_children() {
    return ::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD;
}

template <class Condition>
bool eventually(Condition met) {
    for (const auto until = std::chrono::steady_clock::now() + 10s; !met();) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::yield();
    }
    return true;
}

/// Whether there is a process of this name (its first 15 characters).
bool is_running(std::string_view name) {
    std::error_code ec;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", ec)) {
        std::string comm;
        if (std::getline(std::ifstream(entry.path() / "comm"), comm) && comm == name) return true;
    }
    return false;
}

std::chrono::nanoseconds children_cpu() {
    rusage used{};
    ::getrusage(RUSAGE_CHILDREN, &used);
    return std::chrono::seconds(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           std::chrono::microseconds(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

}  // namespace

TEST_CASE("the probe succeeds, and says why when it cannot") {
    Bench bench;
    const auto fine = run_task(bench.io, bench.sandbox.probe());
    CHECK_MESSAGE(fine, fine.error().log);

    Bench without({.bwrap = "/usr/bin/no-such-bwrap"});
    const auto missing = run_task(without.io, without.sandbox.probe());
    REQUIRE(!missing);
    CHECK(missing.error().code == ErrorCode::unavailable);
    CHECK(missing.error().log.contains("no-such-bwrap"));

    // bwrap that cannot make its namespaces ends with 1, and so does many a program: told apart
    Bench broken({.bwrap = "/usr/bin/false"});
    const auto refused = broken.attempt("echo");
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::unavailable);
}

TEST_CASE("what a parser needs works") {
    Bench bench;
    const auto file = std::filesystem::temp_directory_path() / "millrace-sandbox-input";
    std::ofstream(file) << "text in";
    const auto echoed =
        bench.run({.argv = {k_escape.string(), "echo"}, .input = file, .read_only = {k_escape}});
    std::filesystem::remove(file);
    CHECK(said(echoed) == "text in");
    CHECK(said(bench.attempt("tmp")) == "ok");
    const auto ended = bench.attempt("exit");
    REQUIRE(ended);
    CHECK(ended->exit_code == 42);
    const auto absent =
        bench.run({.argv = {"/usr/bin/no-such-program"}, .input = "/dev/null", .read_only = {}});
    REQUIRE(absent);
    CHECK(absent->exit_code == 127);
}

TEST_CASE("no network, no processes, no privileges") {
    Bench bench;
    for (const char* what : {"socket", "unix_socket", "connect", "fork", "unshare", "ptrace",
                             "mount", "setuid", "kill", "sleep", "wait"}) {
        CAPTURE(what);
        const auto result = said(bench.attempt(what));
        CHECK((result == "EPERM" || (std::string_view(what) == "connect" && result == "EBADF")));
    }
    CHECK(said(bench.attempt("clone3")) == "ENOSYS");
    CHECK(said(bench.attempt("identity")).starts_with("65534 65534 "));
    CHECK(said(bench.attempt("descriptors")) == "0");
    CHECK(said(bench.attempt("limits")) == "536870912 20 67108864 1 64 0 ");
}

TEST_CASE("no files but its own") {
    Bench bench;
    for (const char* what : {"passwd", "environ", "home"}) {
        CAPTURE(what);
        CHECK(said(bench.attempt(what)) == "ENOENT");
    }
    CHECK(said(bench.attempt("usr")) == "EROFS");
    CHECK(said(bench.attempt("root")) == "EROFS");
    CHECK(said(bench.attempt("fill_tmp")) == "ENOSPC");
}

TEST_CASE("memory, output and time are bounded") {
    Bench bench;
    CHECK(said(bench.attempt("allocate")) == "ENOMEM");

    const auto printed = bench.attempt("print");
    REQUIRE(!printed);
    CHECK(printed.error().code == ErrorCode::too_large);

    const auto complained = bench.attempt("complain");
    REQUIRE(complained);
    CHECK(complained->err.size() == 4096);

    const auto aborted = bench.attempt("abort");
    REQUIRE(aborted);
    CHECK(aborted->exit_code > 128);

    for (const char* what : {"loop", "silent_loop"}) {
        CAPTURE(what);
        const auto begin = std::chrono::steady_clock::now();
        const auto looped = bench.attempt(what, 300ms);
        REQUIRE(!looped);
        CHECK(looped.error().code == ErrorCode::timeout);
        CHECK(std::chrono::steady_clock::now() - begin < 3s);
    }

    const auto burnt = bench.run({.argv = {k_escape.string(), "loop"},
                                  .input = "/dev/null",
                                  .read_only = {k_escape},
                                  .limits = {.cpu = 1s}});
    REQUIRE(burnt);
    CHECK(burnt->exit_code == 128 + SIGKILL);
    CHECK(no_children());
}

TEST_CASE("a cancelled run is killed") {
    Bench bench;
    asio::cancellation_signal stop;
    bool ended = false;
    auto task = bench.sandbox.run(
        {.argv = {k_escape.string(), "loop"}, .input = "/dev/null", .read_only = {k_escape}},
        Deadline::in(60s));
    asio::co_spawn(
        bench.io, std::move(task),
        asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr thrown, Result<Output>) {
            CHECK(thrown);
            ended = true;
        }));
    const auto before = children_cpu();
    bench.io.run_for(200ms);  // the program is looping by now, or about to
    CHECK(!ended);
    stop.emit(asio::cancellation_type::terminal);
    bench.io.run_for(5s);
    CHECK(ended);
    CHECK(no_children());
    CHECK(children_cpu() - before < 3s);
}

TEST_CASE("a sandbox does not outlive its worker, or not its CPU limit") {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t worker = ::fork();
    if (worker == 0) {
        Bench bench;
        (void)bench.run({.argv = {k_escape.string(), "loop"},
                         .input = "/dev/null",
                         .read_only = {k_escape},
                         .limits = {.cpu = 2s}},
                        60s);
        ::_exit(0);
    }
    CHECK(eventually([] { return is_running("millrace-sandbo"); }));
    ::kill(worker, SIGKILL);
    CHECK(eventually([] { return ::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD; }));
    CHECK(!is_running("millrace-sandbo"));
}

TEST_CASE("runs beyond parallel_max wait for a place, until their deadline") {
    Bench bench({.parallel_max = 1});
    std::optional<Result<Output>> first, second;
    const Command loop{
        .argv = {k_escape.string(), "loop"}, .input = "/dev/null", .read_only = {k_escape}};
    const Command echo{
        .argv = {k_escape.string(), "exit"}, .input = "/dev/null", .read_only = {k_escape}};
    const auto into = [](auto& where) {
        return [&where](std::exception_ptr, Result<Output> result) {
            where.emplace(std::move(result));
        };
    };
    asio::co_spawn(bench.io, bench.sandbox.run(loop, Deadline::in(1s)), into(first));
    asio::co_spawn(bench.io, bench.sandbox.run(echo, Deadline::in(100ms)), into(second));
    bench.io.run();
    REQUIRE((first && second));
    CHECK(first->error().code == ErrorCode::timeout);
    REQUIRE(!*second);
    CHECK(second->error().code == ErrorCode::timeout);
    CHECK(bench.attempt("exit"));
}

TEST_CASE("the overhead is at most 15 ms at the median") {
    Bench bench;
    std::vector<double> spans;
    for (int i = 0; i < 51; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        REQUIRE(bench.run({.argv = {"/usr/bin/true"}, .input = "/dev/null", .read_only = {}}));
        spans.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
                .count());
    }
    std::ranges::sort(spans);
    MESSAGE("sandbox overhead p50 ", spans[25], " ms, p90 ", spans[45], " ms");
    CHECK(spans[25] <= 15.0);
    CHECK(no_children());
}
