#pragma once
// Tenants' own keys at model providers (contract knowledge.md §3.5): sealed in an envelope, shown
// to nobody, used for that tenant's calls.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shared/postgres/postgres.hpp"

namespace millrace::domain::billing {

inline constexpr std::string_view k_openai = "openai";

struct NewProviderKey {
    std::string provider, model, api_key;
};
/// `models`: the names that `model` may have.
[[nodiscard]] Result<NewProviderKey> decode_provider_key(std::string_view body,
                                                         const std::vector<std::string>& models);

struct ProviderKey {
    base::Uuid id;
    std::string provider, model;
    bool is_active = true;
    base::WallTime created_at{};
};

/// What a call is made with.
struct ProviderCredential {
    std::string model, key;
};

class ProviderKeys {
 public:
    /// `secrets`: the newest first; the others still open what they sealed.
    ProviderKeys(postgres::Database& app, const std::vector<std::string>& secrets);

    Task<Result<ProviderKey>> create(base::TenantId tenant, NewProviderKey key, Deadline deadline);
    /// Newest first.
    Task<Result<std::vector<ProviderKey>>> list(base::TenantId tenant, Deadline deadline);
    /// False: there is none of this id.
    Task<Result<bool>> remove(base::TenantId tenant, base::Uuid id, Deadline deadline);
    /// The newest active key of the provider; remembered for a few seconds, like sessions are.
    Task<Result<std::optional<ProviderCredential>>> credential(base::TenantId tenant,
                                                               std::string provider,
                                                               Deadline deadline);

 private:
    struct Known {
        std::optional<ProviderCredential> credential;
        std::chrono::steady_clock::time_point until;
    };
    [[nodiscard]] Result<std::string> open(base::TenantId tenant, const base::Uuid& id,
                                           std::string_view sealed_with,
                                           std::string_view sealed) const;

    postgres::Database& app_;
    std::vector<std::string> keys_;
    std::map<std::pair<base::TenantId, std::string>, Known> known_;
};

}  // namespace millrace::domain::billing
