#pragma once
// The system calls that a sandboxed program may make.

#include <string>

#include "shared/base/result.hpp"

namespace millrace::sandbox {

/// Who the program becomes, when the sandbox is set up by root: the filter lets setresuid and its
/// kin through for exactly these ids and nothing else.
struct DropTo {
    unsigned uid, gid;
};

/// A BPF program as `bwrap --seccomp` reads it. An allow-list: everything else fails with EPERM,
/// foreign architectures kill. No sockets, no new processes or threads, no tracing, no signals but
/// to oneself, no mounts, keys, namespaces or ioctls.
///
/// execve is allowed: bwrap loads the filter and only then executes the program, and a filter
/// cannot tell the first execve from the second. What it buys an intruder is another read-only
/// program of /usr in the same cell. The extractor, which we wrote, gives it up with a second
/// filter as its first act.
[[nodiscard]] Result<std::string> make_filter(const DropTo* drop);

}  // namespace millrace::sandbox
