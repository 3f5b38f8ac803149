#pragma once
// The probe: kinds of job that succeed, take their time, fail, hang and crash. Built on the public
// runtime only; the tests and benchmarks of the job machinery run on it.

#include <map>
#include <string>

#include "workers/runtime/handler.hpp"

namespace millrace::tests {

/// probe.ok       {"echo": any}             → {"echo": …}, and the `origin` of one that is repeated
/// probe.sleep    {"ms": 0…600000}          → takes that long
/// probe.fail     {"times": n}              → fails transiently n times, then succeeds
/// probe.never    {}                        → can never work
/// probe.hang     {}                        → never ends by itself
/// probe.abort    {"times": n}              → takes its process down n times (always without
///                                            `times`), then succeeds
/// probe.throw    {"times": n}              → the handler throws, likewise
/// probe.large    {"bytes": n}              → a result of that size
/// probe.stream   {"text": …, "ms": pause}  → says the text word by word; it is the answer, too
/// probe.ordered  {"echo": any, "times": n} → like ok and fail, one after the other per order key
/// probe.effect   {"op": …, "times": n, "ms": pause} → one row in probe_effects through the fence
/// probe.effect_ordered                     → the same, one after the other per order key
[[nodiscard]] std::map<std::string, workers::runtime::Handler> probe_handlers();

}  // namespace millrace::tests
