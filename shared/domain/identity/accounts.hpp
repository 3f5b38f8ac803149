#pragma once
// Accounts of the knowledge product: register, sign in, me (contract knowledge.md §3.1, §5.2).

#include <string>

#include "shared/domain/identity/passwords.hpp"
#include "shared/domain/identity/refresh_tokens.hpp"
#include "shared/json/reader.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

inline constexpr std::string_view k_knowledge = "knowledge";  ///< realm and audience

struct Registration {
    std::string email, username, password, tenant_name, tenant_domain;
};
/// Contract §5.2; the error names the field.
[[nodiscard]] Result<Registration> decode_registration(std::string_view body);

struct SignIn {
    std::string email, password;
};
[[nodiscard]] Result<SignIn> decode_sign_in(std::string_view body);

// Members by the rules of §5.2.
[[nodiscard]] std::string read_email(json::Reader& in);
[[nodiscard]] std::string read_username(json::Reader& in);
[[nodiscard]] std::string read_password(json::Reader& in);

struct Account {
    base::UserId id;
    base::TenantId tenant;
    std::string email, username, role;
    bool is_owner = false, is_active = true, is_verified = false;
    base::WallTime created_at{};
};
/// The columns of an Account, in the order of `account_of`.
#define MILLRACE_ACCOUNT_COLUMNS \
    "id, tenant_id, email, username, role, is_owner, is_active, is_verified, created_at"
[[nodiscard]] Account account_of(const postgres::Row& row);

/// The statement that says an address is taken already.
[[nodiscard]] bool is_email_taken(const Error& error);
[[nodiscard]] std::unexpected<Error> email_taken();

class Accounts {
 public:
    Accounts(postgres::Database& app, Passwords& passwords, const RefreshTokens& tokens)
        : app_(app), passwords_(passwords), tokens_(tokens) {}

    /// An account in a tenant of its own, and the statement that makes both: to be run in a
    /// transaction of that tenant. is_email_taken() when it fails because the address is
    /// registered. The first registrant of a domain owns its tenant, later ones wait in a pending
    /// one.
    struct Prepared {
        Account account;
        postgres::Call call;
    };
    Task<Result<Prepared>> prepare(Registration registration);
    /// `unauthenticated` (INVALID_CREDENTIALS), after equal work for known and unknown addresses;
    /// `rate_limited` after too many tries in a row [S17]. `client`: as NewSession's.
    Task<Result<TokenPair>> login(SignIn sign_in, std::string client, Deadline deadline);
    /// Wherever it is now: it may have moved a moment ago.
    Task<Result<Account>> find(base::UserId user, Deadline deadline);
    /// Whether the link was still good. Ends all sessions of its account.
    Task<Result<bool>> reset_password(base::Uuid challenge, std::string password,
                                      Deadline deadline);

 private:
    postgres::Database& app_;
    Passwords& passwords_;
    const RefreshTokens& tokens_;
};

}  // namespace millrace::domain::identity
