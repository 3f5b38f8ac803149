#include "shared/sandbox/bubblewrap.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <system_error>

#include "shared/sandbox/child.hpp"
#include "shared/sandbox/seccomp.hpp"

namespace millrace::sandbox {

namespace fs = std::filesystem;

namespace {

constexpr DropTo k_nobody{65534, 65534};
constexpr std::size_t k_err_bytes_max = 4096;
constexpr std::size_t k_read_bytes = 64 * 1024;
// What bwrap finds at these descriptors; 0 to 2 are the program's own.
constexpr auto k_filter_fd = "3";
constexpr auto k_status_fd = "4";

std::unexpected<Error> cannot(std::string_view what, int number) {
    return fail(ErrorCode::unavailable, "documents cannot be read now",
                {.log = fmt::format("sandbox: cannot {}: {}", what,
                                    std::generic_category().message(number)),
                 .source = fmt::format("errno:{}", number)});
}

struct Pipe {
    base::Fd read, write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC) != 0) return cannot("make a pipe", errno);
    return Pipe{base::Fd(fds[0]), base::Fd(fds[1])};
}

/// A pipe that holds `bytes` and then ends.
Result<base::Fd> pipe_with(std::string_view bytes) {
    TRY(auto pipe, make_pipe());
    if (::write(pipe.write.get(), bytes.data(), bytes.size()) !=
        static_cast<ssize_t>(bytes.size())) {
        return cannot("fill a pipe", errno);
    }
    return std::move(pipe.read);
}

/// A file in memory that cannot grow past `size`: takes what a program writes without anybody
/// reading along.
Result<base::Fd> bounded_file(const char* name, std::size_t size) {
    base::Fd file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0 ||
        ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        return cannot("make a file in memory", errno);
    }
    return file;
}

/// What was written to a bounded_file.
std::string content(const base::Fd& file) {
    std::string text(k_err_bytes_max, '\0');
    const auto got = ::pread(file.get(), text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    text.erase(text.find_last_not_of('\0') + 1);
    return text;
}

/// The number behind a name in what bwrap wrote to its status file.
std::optional<int> status_number(const base::Fd& status, std::string_view name) {
    const auto text = content(status);
    const auto at = text.find(name);
    if (at == std::string::npos) return std::nullopt;
    int number = 0;
    const auto* begin = text.data() + at + name.size();
    const auto [end, ec] = std::from_chars(begin, text.data() + text.size(), number);
    return ec == std::errc{} ? std::optional(number) : std::nullopt;
}

void append(std::vector<std::string>& to, std::initializer_list<std::string> args) {
    to.insert(to.end(), args.begin(), args.end());
}

/// /lib, /bin and so on: links into /usr on a merged system, folders of their own on others.
void append_system_folders(std::vector<std::string>& args) {
    for (const char* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64"}) {
        std::error_code ec;
        if (fs::is_symlink(path, ec)) {
            append(args, {"--symlink", fs::read_symlink(path, ec).string(), path});
        } else if (fs::is_directory(path, ec)) {
            append(args, {"--ro-bind", path, path});
        }
    }
}

/// One more file at its own path. The folders above it are made by hand: bwrap makes them for its
/// own user only.
void append_bind(std::vector<std::string>& args, const fs::path& file) {
    if (*std::next(file.begin()) == "usr") return;  // is there
    fs::path folder;
    for (const auto& part : file.parent_path()) {
        folder /= part;
        if (folder != "/" && folder != "/tmp")
            append(args, {"--perms", "0755", "--dir", folder.string()});
    }
    append(args, {"--ro-bind", file.string(), file.string()});
}

std::vector<std::string> fixed_arguments(const BubblewrapOptions& options, bool root) {
    std::vector<std::string> args{options.bwrap.string()};
    append(args, {"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
                  "--unshare-cgroup-try", "--die-with-parent", "--clearenv"});
    // bwrap's own pid 1 would be left to the machine's init, and not every container has one that
    // collects the dead
    append(args, {"--as-pid-1"});
    if (root) {  // what setpriv needs to become nobody, and no more
        append(args, {"--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"});
    } else {
        append(args, {"--unshare-user", "--uid", std::to_string(k_nobody.uid), "--gid",
                      std::to_string(k_nobody.gid)});
    }
    append(args, {"--setenv", "LANG", "C.UTF-8", "--ro-bind", "/usr", "/usr"});
    append_system_folders(args);
    append(args,
           {"--perms", "1777", "--size", std::to_string(options.tmp_bytes_max), "--tmpfs", "/tmp",
            "--chdir", "/tmp", "--seccomp", k_filter_fd, "--json-status-fd", k_status_fd});
    return args;
}

/// A run: its process, and what became of it. Shared with handlers that may outlive the coroutine
/// by a moment.
struct Run {
    Child child;
    base::Fd status;
    bool timed_out = false;
    bool ended = false;

    Run(Child c, base::Fd s) : child(std::move(c)), status(std::move(s)) {}

    /// Kills the first process of the sandbox, and with it all others there; bwrap outside collects
    /// it and ends. (Killing bwrap would leave that to the machine's init, and not every container
    /// has one that does it.)
    void stop() {
        if (ended) return;
        const auto inner = status_number(status, "\"child-pid\": ");
        if (inner && *inner > 1) {
            ::kill(*inner, SIGKILL);
        } else {
            child.kill();
        }
    }
};

/// When a run is left early, by cancellation, its end is still waited for.
struct StopAtEnd {
    std::shared_ptr<Run> run;
    ~StopAtEnd() {
        if (run->ended) return;
        run->stop();
        run->child.on_end([run = run] { run->ended = true; });
    }
};

/// Everything up to `bytes_max`; false when there is more.
Task<bool> read_all(Executor executor, base::Fd from, std::string& into, std::uint64_t bytes_max) {
    Descriptor pipe(executor, from.release());
    std::vector<char> buffer(k_read_bytes);
    for (;;) {
        const auto [ec, size] =
            co_await pipe.async_read_some(asio::buffer(buffer), async::use_result);
        if (ec == asio::error::operation_aborted) throw boost::system::system_error(ec);
        if (ec) co_return true;  // the end
        if (size > bytes_max - into.size()) co_return false;
        into.append(buffer.data(), size);
    }
}

}  // namespace

/// One of the parallel_max places.
class Bubblewrap::Slot {
 public:
    explicit Slot(Bubblewrap& of) : of_(of) { ++of_.running_; }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
        --of_.running_;
        of_.freed_.notify_all();
    }

 private:
    Bubblewrap& of_;
};

Bubblewrap::Bubblewrap(Executor executor, BubblewrapOptions options)
    : executor_(std::move(executor)),
      options_(std::move(options)),
      root_(::geteuid() == 0),
      filter_(make_filter(root_ ? &k_nobody : nullptr)),
      fixed_(fixed_arguments(options_, root_)),
      freed_(executor_) {}

std::vector<std::string> Bubblewrap::command_line(const Command& command) const {
    auto args = fixed_;
    for (const auto& path : command.read_only) append_bind(args, path);
    append(args, {"--remount-ro", "/", "--"});
    if (root_) {
        append(args, {options_.setpriv.string(), fmt::format("--reuid={}", k_nobody.uid),
                      fmt::format("--regid={}", k_nobody.gid), "--clear-groups", "--"});
    }
    append(args,
           {options_.prlimit.string(), fmt::format("--as={}", command.limits.memory_bytes_max),
            fmt::format("--cpu={}", command.limits.cpu.count()),
            fmt::format("--fsize={}", options_.file_bytes_max), "--nproc=1",
            fmt::format("--nofile={}", options_.open_files_max), "--core=0", "--"});
    args.insert(args.end(), command.argv.begin(), command.argv.end());
    return args;
}

Task<Result<void>> Bubblewrap::probe() {
    auto ran = co_await run({.argv = {"/usr/bin/true"}, .input = "/dev/null", .read_only = {}},
                            Deadline::in(options_.probe));
    if (!ran) co_return std::unexpected(std::move(ran).error());
    if (ran->exit_code == 0) co_return Result<void>{};
    co_return fail(
        ErrorCode::unavailable, "documents cannot be read safely on this machine",
        {.log = fmt::format("sandbox: the probe ended with {}: {}", ran->exit_code, ran->err)});
}

Task<Result<Output>> Bubblewrap::run(Command command, Deadline deadline) {
    check(!command.argv.empty() && command.argv[0].starts_with('/'), "an absolute program path");
    for (const auto& path : command.read_only)
        check(path.is_absolute(), "an absolute path to bind");
    if (!filter_) co_return std::unexpected(filter_.error());
    while (running_ >= options_.parallel_max) {
        if (!co_await freed_.wait(deadline)) {
            co_return fail(ErrorCode::timeout, "too many documents are being read at once");
        }
    }
    const Slot slot(*this);
    co_return co_await run_now(std::move(command), deadline);
}

Task<Result<Output>> Bubblewrap::run_now(Command command, Deadline deadline) {
    const base::Fd input(::open(command.input.c_str(), O_RDONLY | O_CLOEXEC));
    if (!input) co_return cannot("open " + command.input.string(), errno);
    CO_TRY(auto out, make_pipe());
    CO_TRY(auto err, bounded_file("stderr", k_err_bytes_max));
    CO_TRY(auto status, bounded_file("status", k_err_bytes_max));
    CO_TRY(auto filter, pipe_with(*filter_));
    const std::array fds{input.get(), out.write.get(), err.get(), filter.get(), status.get()};
    CO_TRY(auto child, Child::spawn(executor_, command_line(command), fds));
    out.write.reset();

    auto run = std::make_shared<Run>(std::move(child), std::move(status));
    const StopAtEnd stop_at_end{run};
    async::Timer timer(executor_, deadline.when());
    timer.async_wait([run](const boost::system::error_code& ec) {
        if (ec) return;
        run->timed_out = true;
        run->stop();
    });
    Output result;
    const bool whole = co_await read_all(executor_, std::move(out.read), result.out,
                                         command.limits.output_bytes_max);
    if (!whole) run->stop();
    co_await run->child.wait();
    run->ended = true;
    timer.cancel();

    if (!whole) {
        co_return fail(ErrorCode::too_large, fmt::format("more than {} bytes of output",
                                                         command.limits.output_bytes_max));
    }
    if (run->timed_out) co_return fail(ErrorCode::timeout, "reading took too long");
    result.err = content(err);
    const auto code = status_number(run->status, "\"exit-code\": ");
    if (!code) {  // written only once the sandbox was set up: the failure is bwrap's, not the
                  // program's
        co_return fail(ErrorCode::unavailable, "documents cannot be read safely on this machine",
                       {.log = "sandbox: " + result.err});
    }
    result.exit_code = *code;
    co_return result;
}

}  // namespace millrace::sandbox
