#include "shared/sandbox/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <system_error>

namespace millrace::sandbox {

namespace {

/// Above every number that a child's descriptors get, so that placing one never overwrites another.
constexpr int k_lifted = 16;

std::unexpected<Error> failed(std::string_view what, int number) {
    return fail(ErrorCode::unavailable, "documents cannot be read now",
                {.log = fmt::format("sandbox: cannot {}: {}", what,
                                    std::generic_category().message(number)),
                 .source = fmt::format("errno:{}", number)});
}

/// What posix_spawn is to do in the child, freed at the end.
struct Plan {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;

    Plan() {
        check(::posix_spawn_file_actions_init(&actions) == 0 &&
                  ::posix_spawnattr_init(&attributes) == 0,
              "posix_spawn has memory");
        sigset_t none, all;
        sigemptyset(&none);
        sigfillset(&all);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &all);
        // Not a session of its own: Linux gives each session the same share of the processor,
        // however nice its processes are.
        ::posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    Plan(const Plan&) = delete;
    Plan& operator=(const Plan&) = delete;
    ~Plan() {
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
    }
};

}  // namespace

Child::Child(Executor executor, pid_t pid, base::Fd pidfd)
    : pid_(pid), ended_(executor, pidfd.release()) {}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), ended_(std::move(other.ended_)) {}

Child::~Child() {
    kill();
    reap();  // a killed process is gone within a millisecond
}

Result<Child> Child::spawn(Executor executor, const std::vector<std::string>& argv,
                           std::span<const int> fds) {
    check(fds.size() < k_lifted, "few descriptors");
    Plan plan;
    std::vector<base::Fd> lifted;
    for (const int fd : fds) {
        lifted.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, k_lifted));
        if (!lifted.back()) return failed("duplicate a descriptor", errno);
        ::posix_spawn_file_actions_adddup2(&plan.actions, lifted.back().get(),
                                           static_cast<int>(lifted.size()) - 1);
    }
    ::posix_spawn_file_actions_addclosefrom_np(&plan.actions, static_cast<int>(fds.size()));

    std::vector<char*> args;
    for (const auto& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    char* no_environment = nullptr;
    pid_t pid = -1;
    if (const int rc = ::posix_spawn(&pid, args[0], &plan.actions, &plan.attributes, args.data(),
                                     &no_environment);
        rc != 0) {
        return failed("start " + argv[0], rc);
    }
    base::Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
        const int number = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return failed("open a pidfd", number);
    }
    return Child(std::move(executor), pid, std::move(pidfd));
}

void Child::kill() noexcept {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
}

void Child::reap() noexcept {
    if (pid_ <= 0) return;
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
}

Task<void> Child::wait() {
    if (pid_ <= 0) co_return;
    co_await ended_.async_wait(Descriptor::wait_read, async::use_task);
    reap();
}

void Child::on_end(std::move_only_function<void()> then) {
    ended_.async_wait(
        Descriptor::wait_read,
        [then = std::move(then)](const boost::system::error_code&) mutable { then(); });
}

}  // namespace millrace::sandbox
