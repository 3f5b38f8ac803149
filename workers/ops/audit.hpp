#pragma once
// The account of every command that acts: a row "begun" before it does, "done" or "failed" after,
// in a table that takes no change.

#include "shared/json/writer.hpp"
#include "shared/telemetry/trace.hpp"
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

/// A command while it acts.
struct Acting {
    std::string actor;
    telemetry::TraceContext trace = telemetry::TraceContext::fresh();  ///< of all that it does
    json::Object counts;  ///< what it did, also when it fails
};

/// Runs `act` between its two records; what it counted. Nothing is done that cannot be recorded
/// first.
Task<Result<json::Object>> audited(Context& context, std::string command, json::Object arguments,
                                   std::function<Task<Result<void>>(Acting&)> act);

/// One row for what is done already: the commands that make the database what it is.
Task<Result<void>> audit_done(postgres::Database& db, const Context& context, std::string command,
                              json::Object arguments, json::Object counts);

}  // namespace millrace::workers::ops
