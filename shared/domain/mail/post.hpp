#pragma once
// What turns letters into jobs, and a one-time secret and its mail: both or neither.

#include "shared/domain/identity/challenges.hpp"
#include "shared/domain/jobs/publish.hpp"
#include "shared/domain/mail/letter.hpp"

namespace millrace::domain::mail {

/// What a letter needs to be accepted as a job.
struct Post {
    postgres::Database& app;
    jobs::Publisher& publisher;
    const events::Catalog& catalog;
    const std::string& key;  ///< the server's
};

/// Accepts the letter in one transaction of its tenant together with `calls`; what those returned.
/// Whoever has no account yet is served under the system tenant.
Task<Result<std::vector<postgres::Rows>>> post_letter(
    Post post, Letter letter, std::vector<postgres::Call> calls, telemetry::TraceContext trace,
    Deadline deadline, base::TenantId tenant = jobs::k_system_tenant,
    base::UserId owner = {jobs::k_system_tenant.uuid});

/// Makes the secret good and accepts the mail, in one transaction of the system tenant: whoever
/// asks by an address has no tenant yet. `letter` needs neither secret nor challenge.
Task<Result<void>> mail_secret(Post post, identity::Opened opened, Letter letter,
                               telemetry::TraceContext trace, Deadline deadline);

}  // namespace millrace::domain::mail
