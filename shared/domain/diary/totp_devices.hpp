#pragma once
// Authenticator apps (TOTP) as second factors: one each, its secret sealed for its user and row.

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/identity/principal.hpp"
#include "shared/domain/jobs/publish.hpp"
#include "shared/domain/mail/post.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::diary {

/// A mail that tells a user what was changed in their account just now.
[[nodiscard]] jobs::NewJob make_notice(const mail::Post& post, std::string_view what,
                                       const std::string& to, const std::string& locale,
                                       telemetry::TraceContext trace, base::TenantId tenant,
                                       base::UserId user);

/// The one answer to a code that does not open, whatever is wrong with it.
[[nodiscard]] std::unexpected<Error> refuse_code();

inline constexpr auto k_totp_pending = std::chrono::minutes(10);

class TotpDevices {
 public:
    struct Added {
        std::string secret, uri;  ///< for the app; shown this once
    };

    /// `keys`: the server's; the first seals, all unseal.
    TotpDevices(mail::Post post, const std::vector<std::string>& keys);

    /// A device that proves nothing until confirm(), within k_totp_pending; it takes the place of
    /// one that was not confirmed. `conflict` (TOTP_EXISTS) when there is a confirmed one.
    Task<Result<Added>> add(identity::Principal who, Deadline deadline);
    /// `not_found` (TOTP_NOT_FOUND): nothing to confirm; `invalid` (OTP_INVALID).
    Task<Result<void>> confirm(identity::Principal who, std::string code,
                               telemetry::TraceContext trace, Deadline deadline);
    Task<Result<void>> remove(identity::Principal who, std::string code,
                              telemetry::TraceContext trace, Deadline deadline);
    /// Whether it is a code of the confirmed device that was not accepted before; now it is.
    Task<Result<bool>> accept(identity::Principal who, std::string code, Deadline deadline);

 private:
    struct Device {
        base::Uuid id;
        std::string secret, email, locale;
        bool confirmed = false, stale = false;
    };
    Task<Result<std::optional<Device>>> find(identity::Principal who, Deadline deadline);
    [[nodiscard]] std::optional<std::string> unseal(base::UserId user, const base::Uuid& device,
                                                    std::string_view sealed) const;

    mail::Post post_;
    std::vector<std::string> keys_;
};

}  // namespace millrace::domain::diary
