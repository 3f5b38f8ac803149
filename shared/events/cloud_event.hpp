#pragma once
// Job records on the wire: CloudEvents 1.0, Kafka binding, binary mode. The value is the job's
// input as JSON; what the pipeline needs to run it without asking the database rides in extension
// attributes.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/base/result.hpp"
#include "shared/base/time.hpp"
#include "shared/base/uuid.hpp"
#include "shared/telemetry/trace.hpp"

namespace millrace::events {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// One announcement of one job.
struct JobRecord {
    base::JobId id;  ///< ce_id: the same on every announcement, so a consumer may drop repeats
    base::TenantId tenant;  ///< ce_tenant
    base::UserId owner;     ///< ce_owner
    std::string kind;       ///< ce_kind
    std::string type;       ///< ce_type, "millrace.answer.requested.v1"
    std::string order_key;  ///< ce_orderkey; empty when the kind is not ordered
    base::WallTime time{};  ///< ce_time: when the job was accepted
    telemetry::TraceContext trace;
    /// The input, JSON. nullopt: larger than k_inline_input_bytes_max, to be read from the job row
    /// (header ce_dataref).
    std::optional<std::string> input;
};

inline constexpr std::size_t k_inline_input_bytes_max = 32 * 1024;
inline constexpr std::string_view k_source = "/millrace";

[[nodiscard]] Headers encode_headers(const JobRecord& record);

/// `invalid` with the reason when a header is missing or malformed: such a record is dead-lettered,
/// never run. `value` is taken only when the record is good.
[[nodiscard]] Result<JobRecord> decode(const Headers& headers, std::string& value, bool has_value);

}  // namespace millrace::events
