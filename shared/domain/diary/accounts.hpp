#pragma once
// Accounts of the diary product (contract diary.md): an address is proven before its account
// exists, and nothing is open without a second factor. Addresses with and without an account cost
// the same work and get the same answers.

#include <optional>
#include <string>

#include "shared/domain/diary/profile.hpp"
#include "shared/domain/diary/totp_devices.hpp"
#include "shared/domain/identity/challenges.hpp"
#include "shared/domain/identity/passwords.hpp"
#include "shared/domain/identity/sessions.hpp"
#include "shared/domain/jobs/publish.hpp"

namespace millrace::domain::diary {

inline constexpr std::string_view k_realm = "diary";
inline constexpr auto k_code_lifetime = std::chrono::minutes(10);
inline constexpr auto k_reset_lifetime = std::chrono::minutes(10);
inline constexpr auto k_session_lifetime = std::chrono::days(30);

struct Registration {
    std::string email, password, locale;
    Profile profile;
};
[[nodiscard]] Result<Registration> decode_registration(std::string_view body);

/// On whose behalf something is done.
struct Caller {
    std::string client;  ///< address and user agent
    telemetry::TraceContext trace;
    Deadline deadline;
};

/// An account whose password was right.
struct Known {
    base::UserId user;
    base::TenantId tenant;
    std::string email, locale;
};

struct Session {
    base::UserId user;
    base::Uuid id;
    std::string token;
    base::WallTime expires_at;
    bool has_totp = false;
};

struct Account {
    base::UserId id;
    std::string email;
    Profile profile;
    base::WallTime created_at;
    bool has_totp = false;
};

class Accounts {
 public:
    struct Ports {
        identity::Passwords& passwords;
        identity::Challenges& challenges;
        TotpDevices& devices;
        mail::Post post;
        std::string public_url;  ///< links in mails begin with it
    };
    explicit Accounts(Ports ports) : ports_(std::move(ports)) {}

    /// Keeps the registration with a code that is mailed; an address that has an account gets
    /// another mail.
    Task<Result<void>> start_registration(Registration registration, Caller caller);
    /// Makes the account that the code was mailed for, signed in.
    Task<Result<Session>> finish_registration(std::string email, std::string code, Caller caller);

    /// `unauthenticated` (INVALID_CREDENTIALS) for whatever is wrong.
    Task<Result<Known>> check_password(std::string email, std::string password, Deadline deadline);
    /// A session whose second factor is missing, and a code in the mail. It takes the place of
    /// other such sessions and their code.
    Task<Result<Session>> start_session(Known known, Caller caller);
    /// The code that was mailed, or one of the authenticator app: a full session in place of
    /// `half`'s. `invalid` (OTP_INVALID) for whatever is wrong with the code.
    Task<Result<Session>> finish_session(identity::Principal half, std::string code, Caller caller);

    Task<Result<void>> request_reset(std::string email, Caller caller);
    /// Uses up the mailed token; every device is signed out. `invalid` (RESET_TOKEN_INVALID).
    Task<Result<void>> reset_password(std::string token, std::string password, Caller caller);

    Task<Result<Account>> find(identity::Principal who, Deadline deadline);
    Task<Result<Account>> change(identity::Principal who, Profile profile, Deadline deadline);
    /// `forbidden` (INVALID_CREDENTIALS) when the password is wrong.
    Task<Result<void>> erase(identity::Principal who, std::string password, Deadline deadline);

 private:
    Ports ports_;
};

}  // namespace millrace::domain::diary
