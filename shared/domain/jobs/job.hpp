#pragma once
// What a job is (design §1).

#include <optional>
#include <string>
#include <string_view>

#include "shared/base/time.hpp"
#include "shared/base/uuid.hpp"
#include "shared/events/catalog.hpp"
#include "shared/telemetry/trace.hpp"

namespace millrace::domain::jobs {

using base::JobId;
using base::TenantId;
using base::UserId;

enum class Status : std::uint8_t {
    queued,
    waiting,
    parked,
    running,
    succeeded,
    failed,
    dead,
    cancelled
};
/// As the database's enum and the API spell it.
[[nodiscard]] std::string_view to_string(Status status) noexcept;
[[nodiscard]] Status parse_status(std::string_view text);
[[nodiscard]] constexpr bool is_final(Status status) noexcept {
    return status >= Status::succeeded;
}

/// The owner of jobs that belong to no tenant (yet), such as a mail to an address without an
/// account. No user has this tenant.
inline constexpr TenantId k_system_tenant{{{0, 0, 0, 0, 0, 0, 0x80, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}}};

/// A job to be accepted.
struct NewJob {
    JobId id = JobId::make();
    TenantId tenant;
    UserId owner;
    const events::Kind* kind = nullptr;  ///< outlives the job: the catalog's
    std::string lane = "interactive";
    std::string order_key;  ///< for ordered kinds; unique across tenants (begins with the tenant)
    telemetry::TraceContext trace;
    std::string input;  ///< JSON
};

/// A job as its owner sees it.
struct View {
    JobId id;
    TenantId tenant;
    UserId owner;
    std::string kind;
    Status status = Status::queued;
    int attempt = 0;
    bool cancel_requested = false;
    base::WallTime created_at;
    std::optional<base::WallTime> finished_at;
    std::optional<std::string>
        result;  ///< JSON; of a job that did not succeed: {"error":{"code","message",…}}
};

}  // namespace millrace::domain::jobs
