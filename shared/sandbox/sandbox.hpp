#pragma once
// Runs one untrusted parse in a process of its own, with no network, no files but /usr (read-only),
// and hard limits [engineering S13]. Where the machine has no user namespaces it refuses: never
// runs unsandboxed.

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::sandbox {

struct Limits {
    std::uint64_t memory_bytes_max = 512ULL << 20;  ///< RLIMIT_AS
    std::chrono::seconds cpu{20};
    std::uint64_t output_bytes_max = 10ULL << 20;
};

struct Command {
    std::vector<std::string> argv;                 ///< absolute program path first
    std::filesystem::path input;                   ///< becomes the child's stdin
    std::vector<std::filesystem::path> read_only;  ///< more files the child may read (the extractor
                                                   ///< binary), bound at the same path
    Limits limits{};
};

struct Output {
    int exit_code = 0;  ///< 128 + signal when killed
    std::string out;    ///< stdout; at most limits.output_bytes_max
    std::string err;    ///< stderr, at most 4 KiB
};

/// `unavailable` with the reason when this machine cannot sandbox; `too_large` when stdout passes
/// its limit; `timeout` past the deadline (the child is killed). A non-zero exit is a value, not an
/// error.
class Sandbox {
 public:
    virtual ~Sandbox() = default;
    virtual Task<Result<Output>> run(Command command, Deadline deadline) = 0;
};

}  // namespace millrace::sandbox
