#pragma once
// Mails as jobs: what the edge and other workers ask for, and what the mail worker reads
// (millrace.mail.requested.v1, kind mail.send).

#include <optional>
#include <string>

#include "shared/domain/jobs/job.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::mail {

struct Letter {
    std::string name;           ///< of the template, such as "otp"
    std::string locale = "ja";  ///< ja | en
    std::string to;
    json::Object data;   ///< what the template shows
    std::string secret;  ///< a code or a link's token, shown as {{secret}}; sealed on its way
    /// The one-time secret that it carries: superseded or used before it is sent, it is not sent.
    std::optional<base::Uuid> challenge;
    bool needs_account = false;  ///< and not when the address has no account
};

/// A job of kind mail.send. `key`: the server's; the secret is sealed for this job alone. Whoever
/// has no account yet is served under the system tenant.
[[nodiscard]] jobs::NewJob make_job(const Letter& letter, const events::Catalog& catalog,
                                    std::string_view key, telemetry::TraceContext trace,
                                    base::TenantId tenant = jobs::k_system_tenant,
                                    base::UserId owner = {jobs::k_system_tenant.uuid});

/// The input of such a job. `invalid` when it is none, or its secret was sealed with another key
/// than one of `keys`.
[[nodiscard]] Result<Letter> parse_letter(std::string_view input, base::JobId job,
                                          const std::vector<std::string>& keys);

}  // namespace millrace::domain::mail
