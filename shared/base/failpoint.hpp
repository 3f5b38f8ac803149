#pragma once
// Places between two steps where a test may end or delay the process: `MILLRACE_FAILPOINT` names
// one
// ("accept.committed=crash@20": at the 20th passage; "claim.committed=delay:300ms": at every one).
// Compiled in always and off unless named, for one predictable branch.

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::base::failpoint {

/// The places, along the arrows of design §1.
inline constexpr std::string_view k_names[] = {
    "accept.committed",   // the jobs are in the database, nobody was answered
    "publish.before",     // answered, and no record yet
    "publish.delivered",  // the records are in the log, the outbox row is still there
    "claim.committed",    // claimed, the offset not stored
    "settle.before",      // the handler is done, nothing of it written
    "settle.committed",   // written, nobody told
    "object.stored",      // an upload's bytes are in the object store, no row speaks of them
    "mail.handed",        // a mail was handed over, nothing of it written
};
inline constexpr int k_exit_code = 86;

struct Plan {
    enum class Action { crash, delay } action;
    std::string name;
    std::chrono::milliseconds pause{};  ///< of a delay; it blocks the thread, as a stall would
    int at = 0;                         ///< only this passage, counted from 1; 0: every one
};
/// nullopt: not of the form above, or no such place.
[[nodiscard]] std::optional<Plan> parse(std::string_view text);
/// Once, at the start, before any thread.
void arm(Plan plan);

inline bool armed = false;
void passed(std::string_view name);

/// Stands at its place in the code.
inline void at(std::string_view name) {
    if (armed) [[unlikely]]
        passed(name);
}

}  // namespace millrace::base::failpoint
