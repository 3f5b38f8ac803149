#pragma once
// The sandbox on Linux namespaces and seccomp, set up by bubblewrap. Each run is a process tree of
// its own: no network, a file system of /usr (read-only), the program, and a small /tmp; no new
// processes; limits on memory, CPU and output.

#include <memory>

#include "shared/async/event.hpp"
#include "shared/sandbox/sandbox.hpp"

namespace millrace::sandbox {

struct BubblewrapOptions {
    std::filesystem::path bwrap = "/usr/bin/bwrap";
    std::filesystem::path prlimit = "/usr/bin/prlimit";
    std::filesystem::path setpriv = "/usr/bin/setpriv";  ///< only when started by root
    std::size_t parallel_max = 4;                ///< further runs wait, until their deadline
    std::uint64_t file_bytes_max = 64ULL << 20;  ///< RLIMIT_FSIZE
    std::uint64_t tmp_bytes_max = 16ULL << 20;   ///< size of its /tmp, which is memory
    unsigned open_files_max = 64;                ///< RLIMIT_NOFILE
    std::chrono::seconds probe{5};
};

/// Started by an ordinary user it needs unprivileged user namespaces, and the program runs as 65534
/// of a user namespace. Started by root it needs none, and the program runs as the real user 65534,
/// without capabilities.
///
/// One thread: the one that lives as long as the process, since its end kills the sandboxes.
/// Destroy only when no run is under way. A task that is cancelled while in run() kills its
/// sandbox.
class Bubblewrap final : public Sandbox {
 public:
    Bubblewrap(Executor executor, BubblewrapOptions options);

    /// Runs a program that does nothing: `unavailable` with the reason where this machine cannot
    /// sandbox. For start-up.
    Task<Result<void>> probe();
    Task<Result<Output>> run(Command command, Deadline deadline) override;

 private:
    class Slot;
    Task<Result<Output>> run_now(Command command, Deadline deadline);
    [[nodiscard]] std::vector<std::string> command_line(const Command& command) const;

    Executor executor_;
    BubblewrapOptions options_;
    bool root_;
    Result<std::string> filter_;
    std::vector<std::string>
        fixed_;  ///< the part of bwrap's command line that is the same for every run
    std::size_t running_ = 0;
    async::Event freed_;
};

}  // namespace millrace::sandbox
