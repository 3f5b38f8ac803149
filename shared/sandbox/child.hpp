#pragma once
// One child process, watched through a pidfd: no SIGCHLD handler, and nobody else's children are
// touched.

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/fd.hpp"

namespace millrace::sandbox {

using Descriptor = asio::posix::basic_stream_descriptor<Executor>;

/// Starts `argv` with exactly the descriptors `fds` as 0, 1, 2, …, an empty environment, default
/// signals, in a process group of its own. Uses posix_spawn, which is safe beside other threads.
/// Destroying it kills and reaps.
class Child {
 public:
    [[nodiscard]] static Result<Child> spawn(Executor executor,
                                             const std::vector<std::string>& argv,
                                             std::span<const int> fds);
    Child(Child&&) noexcept;
    Child& operator=(Child&&) = delete;
    ~Child();

    /// SIGKILL to the process and its group. Nothing happens once it has been reaped.
    void kill() noexcept;
    /// Until it has ended; reaps it.
    Task<void> wait();
    /// Calls `then` once it has ended; this must live until then, or be destroyed with the
    /// io_context.
    void on_end(std::move_only_function<void()> then);

 private:
    Child(Executor executor, pid_t pid, base::Fd pidfd);
    void reap() noexcept;

    pid_t pid_;
    Descriptor ended_;
};

}  // namespace millrace::sandbox
