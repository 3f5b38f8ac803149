#pragma once
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

/// `replay diff RUN`: old results beside new ones.
CLI::App* add_replay_diff(CLI::App& replay, Context& context, Run& run);

}  // namespace millrace::workers::ops
