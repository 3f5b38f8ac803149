#pragma once
// Companies of the knowledge product: what they are, who belongs to them, who is invited.

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/identity/accounts.hpp"

namespace millrace::domain::identity {

struct Tenant {
    base::TenantId id;
    std::string name, domain, plan, status;
    std::string settings;  ///< JSON
    std::int32_t key_version = 1;
    base::WallTime created_at{};
};

struct Invitation {
    base::Uuid id;
    std::string email, role, status;  ///< PENDING | ACCEPTED | REVOKED | EXPIRED
    base::WallTime created_at{}, expires_at{};
};

inline constexpr auto k_invitation_lifetime = std::chrono::days(7);

struct Invite {
    std::string email, role;  ///< OPERATOR | ADMIN
};
[[nodiscard]] Result<Invite> decode_invite(std::string_view body);

struct UserChange {
    std::optional<std::string> role;  ///< OPERATOR | ADMIN
    std::optional<bool> is_active;
};
[[nodiscard]] Result<UserChange> decode_user_change(std::string_view body);

struct TenantChange {
    std::optional<std::string> name;
    /// Origins whose pages may use the widget, such as https://www.example.com.
    std::optional<std::vector<std::string>> allowed_origins;
    std::optional<std::string> llm_model;  ///< of questions that name none
    bool changes_budget = false;
    std::optional<double> monthly_budget_usd;  ///< none: no budget of its own
};
/// `models`: the names that `llm_model` may have.
[[nodiscard]] Result<TenantChange> decode_tenant_change(std::string_view body,
                                                        const std::vector<std::string>& models);

/// How somebody who was invited becomes a member.
struct Acceptance {
    std::string token, username, password;
};
/// `new_account` false: only the token is read.
[[nodiscard]] Result<Acceptance> decode_acceptance(std::string_view body, bool new_account);

class Tenants {
 public:
    Tenants(postgres::Database& app, Passwords& passwords) : app_(app), passwords_(passwords) {}

    Task<Result<Tenant>> find(base::TenantId tenant, Deadline deadline);
    Task<Result<Tenant>> change(base::TenantId tenant, TenantChange change, Deadline deadline);
    /// The next version of its widget key.
    Task<Result<std::int32_t>> rotate_key(base::TenantId tenant, Deadline deadline);

    Task<Result<std::vector<Account>>> users(base::TenantId tenant, Deadline deadline);
    /// `not_found`; `forbidden` for the owner, whom nobody changes. Who is no longer active is
    /// signed out everywhere.
    Task<Result<Account>> change_user(base::TenantId tenant, base::UserId user, UserChange change,
                                      Deadline deadline);

    /// In a transaction of the tenant, whose row is the end of its life; explain_invite() its
    /// error.
    [[nodiscard]] static postgres::Call invite(const base::Uuid& id, const Principal& by,
                                               const Invite& invite);
    [[nodiscard]] static Error explain_invite(Error error);
    Task<Result<std::vector<Invitation>>> invitations(base::TenantId tenant, Deadline deadline);
    /// False when none of this id is open.
    Task<Result<bool>> revoke_invitation(base::TenantId tenant, base::Uuid id, Deadline deadline);

    struct Joined {
        Account account;
        std::string tenant_name;
    };
    /// Makes the account, or moves `existing`. `conflict`: LINK_EXPIRED, EMAIL_TAKEN, NOT_PENDING.
    Task<Result<Joined>> accept(base::Uuid invitation, std::optional<base::UserId> existing,
                                Acceptance acceptance, Deadline deadline);

    struct Confirmed {
        base::UserId user;
        std::string email;
        std::optional<std::string> joinable;  ///< name of the company that this account may join
    };
    /// nullopt: the link is not good any more.
    Task<Result<std::optional<Confirmed>>> confirm_address(base::Uuid challenge, Deadline deadline);
    /// The name of the company that was joined; errors as accept().
    Task<Result<std::string>> join_by_address(base::Uuid challenge, Deadline deadline);

 private:
    postgres::Database& app_;
    Passwords& passwords_;
};

/// The answer to a mailed link that was used, replaced, revoked or has expired.
[[nodiscard]] std::unexpected<Error> link_expired();

}  // namespace millrace::domain::identity
