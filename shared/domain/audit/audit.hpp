#pragma once
// The account of security-relevant acts: rows that are only ever added, sealed into a chain of
// hashes (schemas/sql/0011_audit.sql).

#include <optional>
#include <string>

#include "shared/json/writer.hpp"
#include "shared/postgres/postgres.hpp"
#include "shared/telemetry/trace.hpp"

namespace millrace::domain::audit {

enum class Outcome : std::uint8_t { done, failed, denied };

struct Act {
    std::string actor;  ///< user_actor(), address_actor(), or what else acts
    std::string what;   ///< "login", "password_reset", "session_revoke", …
    Outcome outcome = Outcome::done;
    std::optional<base::TenantId> tenant{};
    json::Object details{};  ///< no secrets, no bodies
    std::string client{};    ///< address it came from
    telemetry::TraceContext trace{};
};

[[nodiscard]] std::string user_actor(base::UserId user);
/// Somebody who is not known yet: a hash of the address, so that attempts on one account can be
/// counted without a list of addresses.
[[nodiscard]] std::string address_actor(std::string_view address);

/// As millrace_app.
[[nodiscard]] postgres::Call record(const Act& act);

/// Writes acts on their own; what cannot be written goes to the log, so that no act is without an
/// account.
class Log {
 public:
    explicit Log(postgres::Database& app) : app_(app) {}
    Task<void> write(Act act);

 private:
    postgres::Database& app_;
};

struct Seal {
    std::int32_t rows = 0;    ///< 0: there was nothing to seal
    std::int64_t number = 0;  ///< of the newest seal
    std::string hash;         ///< its hash, hex
};
/// Seals what is not sealed yet, at most 10,000 rows. As millrace_pipeline.
Task<Result<Seal>> seal(postgres::Database& pipeline, Deadline deadline);

}  // namespace millrace::domain::audit
