#pragma once
// Which jobs a replay is about.

#include <optional>
#include <string>
#include <vector>

#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

struct ReplayOptions {
    std::string worker, topic, offsets;
    std::optional<std::string> from, until, type, tenant, cause;
    std::int32_t partition = -1;
    std::int64_t rate = 200;  ///< records per second; 0: no cap
    bool dead_letters = false, force = false, repeat_effects = false, shadow = false;
    bool dry_run = false, yes = false;

    [[nodiscard]] std::string mode() const { return shadow ? "shadow" : force ? "force" : "again"; }
};
/// Says what does not go together, before anything is asked of anybody.
Result<void> check_options(const events::Catalog& catalog, const ReplayOptions& options);

struct Window {
    std::vector<base::Uuid> jobs;  ///< each once
    std::int64_t records = 0;      ///< looked at; of dead letters: letters
    std::int64_t filtered = 0;     ///< of another type or tenant
    std::int64_t undecodable = 0;  ///< no job can be read from it: left out, but for dead letters
    std::int64_t expired = 0;      ///< dead letters whose record the log does not hold any more
    /// Dead letters that are no dead job: their records as they were, and the letters' ids.
    std::vector<kafka::Record> raw;
    std::vector<base::Uuid> raw_letters;
};
Task<Result<Window>> find_window(Context& context, const ReplayOptions& options);

}  // namespace millrace::workers::ops
