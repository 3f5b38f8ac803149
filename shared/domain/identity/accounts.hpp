#pragma once
// Accounts of the knowledge product: register, login, me (contract knowledge.md §3.1, §5.2).

#include <string>

#include "shared/domain/identity/passwords.hpp"
#include "shared/domain/identity/sessions.hpp"
#include "shared/json/reader.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

struct Registration {
    std::string email, username, password, tenant_name, tenant_domain;
};
/// Contract §5.2; the error names the field.
[[nodiscard]] Result<Registration> decode_registration(std::string_view body);

struct SignIn {
    std::string email, password;
};
[[nodiscard]] Result<SignIn> decode_sign_in(std::string_view body);

struct Account {
    base::UserId id;
    base::TenantId tenant;
    std::string email, username, role;
    bool is_owner = false, is_active = true, is_verified = false;
};

struct TokenPair {
    std::string access, refresh;
    std::chrono::seconds expires_in{};
};

inline constexpr auto k_access_lifetime = std::chrono::minutes(30);
inline constexpr auto k_refresh_lifetime = std::chrono::days(7);

class Accounts {
 public:
    Accounts(postgres::Database& app, Passwords& passwords, const TokenIssuer& tokens)
        : app_(app), passwords_(passwords), tokens_(tokens) {}

    /// `conflict` (EMAIL_TAKEN) when the address is registered. The first registrant of a domain
    /// owns its tenant.
    Task<Result<Account>> create(Registration registration, Deadline deadline);
    /// `unauthenticated` (INVALID_CREDENTIALS), after equal work for known and unknown addresses.
    Task<Result<TokenPair>> login(SignIn sign_in, Deadline deadline);
    Task<Result<Account>> find(Principal principal, Deadline deadline);

 private:
    postgres::Database& app_;
    Passwords& passwords_;
    const TokenIssuer& tokens_;
};

}  // namespace millrace::domain::identity
