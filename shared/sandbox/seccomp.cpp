#include "shared/sandbox/seccomp.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

#include "shared/base/fd.hpp"

namespace millrace::sandbox {

namespace {

// clang-format off
constexpr std::array k_allowed = {
    // what is there already: the input, the output, files below /usr
    "read", "readv", "pread64", "preadv", "write", "writev", "pwrite64", "lseek", "close", "dup", "dup2", "dup3",
    "open", "openat", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "getdents64", "getcwd", "chdir", "umask", "ftruncate", "unlink", "unlinkat", "fadvise64",
    // memory
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise",
    // time, randomness, facts about oneself
    "clock_gettime", "clock_getres", "gettimeofday", "time", "times", "getrandom", "uname",
    "sysinfo", "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups",
    "getpgrp", "getpgid", "getsid", "getrusage", "getrlimit", "prlimit64", "setrlimit", "sched_getaffinity", "sched_yield",
    "capget",
    // signals to oneself
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sigaltstack", "tgkill",
    // start and end of a program
    "execve", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "exit", "exit_group",
};
constexpr std::array k_prctl = {PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_SET_NAME,
                                PR_GET_SECUREBITS, PR_GET_KEEPCAPS, PR_CAP_AMBIENT};
constexpr std::array k_fcntl = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL};  // no locks
// clang-format on

/// Adds rules until one cannot be added.
class Rules {
 public:
    explicit Rules(scmp_filter_ctx context) : context_(context) {}

    template <class... Args>
    void add(std::uint32_t action, const char* name, Args... args) {
        const int number = seccomp_syscall_resolve_name(name);
        if (number == __NR_SCMP_ERROR) return;  // this architecture never had it
        const std::array<scmp_arg_cmp, sizeof...(Args)> compare{args...};
        const int rc =
            seccomp_rule_add_array(context_, action, number, sizeof...(Args), compare.data());
        if (rc != 0 && error_ == 0) error_ = -rc;
    }
    [[nodiscard]] int error() const noexcept { return error_; }

 private:
    scmp_filter_ctx context_;
    int error_ = 0;
};

scmp_arg_cmp equal(unsigned index, std::uint64_t value) {
    return {.arg = index, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

void fill(Rules& rules, const DropTo* drop) {
    for (const char* name : k_allowed) rules.add(SCMP_ACT_ALLOW, name);
    for (const int option : k_prctl) {
        rules.add(SCMP_ACT_ALLOW, "prctl", equal(0, static_cast<std::uint64_t>(option)));
    }
    for (const int command : k_fcntl) {
        rules.add(SCMP_ACT_ALLOW, "fcntl", equal(1, static_cast<std::uint64_t>(command)));
    }
    rules.add(SCMP_ACT_ALLOW, "futex",
              scmp_arg_cmp{.arg = 1,
                           .op = SCMP_CMP_MASKED_EQ,
                           .datum_a = static_cast<std::uint32_t>(FUTEX_CMD_MASK),
                           .datum_b = FUTEX_WAKE});
    // "No such call" makes the C library fall back to the calls above instead of giving up.
    for (const char* name : {"clone3", "openat2"}) rules.add(SCMP_ACT_ERRNO(ENOSYS), name);
    if (drop == nullptr) return;
    rules.add(SCMP_ACT_ALLOW, "setresuid", equal(0, drop->uid), equal(1, drop->uid));
    rules.add(SCMP_ACT_ALLOW, "setresgid", equal(0, drop->gid), equal(1, drop->gid));
    rules.add(SCMP_ACT_ALLOW, "setgroups", equal(0, 0));
    // setpriv lays its capabilities down itself after the change of user; a program without any
    // cannot gain by these
    rules.add(SCMP_ACT_ALLOW, "prctl", equal(0, PR_SET_KEEPCAPS));
    rules.add(SCMP_ACT_ALLOW, "capset");
}

}  // namespace

Result<std::string> make_filter(const DropTo* drop) {
    const auto failed = [](std::string_view what, int number) {
        return fail(ErrorCode::unavailable, "documents cannot be read safely on this machine",
                    {.log = fmt::format("sandbox: cannot {} the seccomp filter: {}", what,
                                        std::generic_category().message(number))});
    };
    const std::unique_ptr<void, decltype(&seccomp_release)> context(
        seccomp_init(SCMP_ACT_ERRNO(EPERM)), &seccomp_release);
    if (!context) return failed("create", ENOMEM);
    Rules rules(context.get());
    fill(rules, drop);
    if (rules.error() != 0) return failed("fill", rules.error());

    const base::Fd file(::memfd_create("seccomp", MFD_CLOEXEC));
    if (!file) return failed("store", errno);
    if (const int rc = seccomp_export_bpf(context.get(), file.get()); rc != 0) {
        return failed("export", -rc);
    }
    std::string program(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)), '\0');
    if (::pread(file.get(), program.data(), program.size(), 0) !=
        static_cast<ssize_t>(program.size())) {
        return failed("read", errno);
    }
    return program;
}

}  // namespace millrace::sandbox
