#pragma once
// What must hold of all jobs at any moment, as statements over one snapshot.

#include <array>
#include <string_view>

#include "shared/postgres/postgres.hpp"

namespace millrace::workers::ops {

struct Check {
    std::string_view name, what;
};
/// Every violation belongs to one of these.
inline constexpr std::array<Check, 17> k_checks = {{
    {"queued_unannounced", "queued, and neither the outbox nor an unread record announces it"},
    {"outbox_stale", "an outbox row that nobody has published for too long"},
    {"outbox_without_job", "an outbox row that names a job that does not exist"},
    {"due_without_waiting", "a due row whose job does not wait"},
    {"waiting_without_due", "waiting, without a due row"},
    {"running_without_worker", "running, but no living worker lists it"},
    {"parked_unblocked", "parked, with nothing unfinished before it in its key"},
    {"kind_unknown", "unfinished, of a kind that topics.yaml does not have"},
    {"ended_without_time", "ended, without finished_at"},
    {"unended_with_time", "not ended, with finished_at"},
    {"succeeded_without_result", "succeeded, without a result"},
    {"dead_without_letter", "dead, without an open dead letter"},
    {"key_without_job", "an idempotency key whose job does not exist"},
    {"order_broken", "ended before an earlier job of its key"},
    {"usage_twice", "one call of one attempt was counted twice"},
    {"usage_without_attempt", "money spent by an attempt that the job has not had"},
    {"document_generation",
     "a document whose visible chunks are not those that its job has reported"},
}};

/// (status, jobs). $1: the smallest id.
extern const postgres::Statement k_verify_counts;
/// (check, violations, some of their keys). $1 the smallest id, $2 kinds, $3 whether ordered, $4
/// whether dead blocks, $5 seconds that an outbox row may stay.
extern const postgres::Statement k_verify_rows;
/// (id, attempt, since): queued jobs that no outbox row names. $1 the smallest id.
extern const postgres::Statement k_verify_unannounced;
/// Those of ($1 ids, $2 attempts, $3 since) of which that is still so.
extern const postgres::Statement k_verify_still_unannounced;

}  // namespace millrace::workers::ops
