#pragma once
// Accounts of the knowledge product: register, login, me (contract knowledge.md §3.1, §5.2).

#include <boost/asio/thread_pool.hpp>
#include <string>

#include "shared/async/offload.hpp"
#include "shared/domain/identity/jwt.hpp"
#include "shared/json/reader.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

struct Registration {
    std::string email, username, password, tenant_name, tenant_domain;
};
/// Contract §5.2; the error names the field.
[[nodiscard]] Result<Registration> decode_registration(std::string_view body);

struct Credentials {
    std::string email, password;
};
[[nodiscard]] Result<Credentials> decode_credentials(std::string_view body);

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

/// Argon2id in a pool of one thread: hashing is the cheapest way to flood a small machine.
class Accounts {
 public:
    Accounts(Executor executor, postgres::Database& app, const TokenIssuer& tokens);

    /// `conflict` (EMAIL_TAKEN) when the address is registered. The first registrant of a domain
    /// owns its tenant.
    Task<Result<Account>> create(Registration registration, Deadline deadline);
    /// `unauthenticated` (INVALID_CREDENTIALS), after equal work for known and unknown addresses.
    Task<Result<TokenPair>> login(Credentials credentials, Deadline deadline);
    Task<Result<Account>> find(Principal principal, Deadline deadline);
    void stop() { hashing_.stop(); }

 private:
    template <class Fn>
    Task<Result<std::invoke_result_t<Fn>>> hash_with(Fn fn);

    Executor executor_;
    postgres::Database& app_;
    const TokenIssuer& tokens_;
    async::Pool hashing_{1};
    int waiting_ = 0;
    std::string dummy_hash_;
};

}  // namespace millrace::domain::identity
