#pragma once
// Keys of chat widgets: public by nature (they stand in a customer's pages), so they open one thing
// only, from the tenant's own origins. A key is computed, not stored: tenant and version under the
// server's key. Raising the version makes a new one; the one before it works for another day.

#include <string>
#include <unordered_map>
#include <vector>

#include "shared/domain/identity/principal.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::identity {

class WidgetKeys {
 public:
    /// `keys`: the server's, the current one first.
    WidgetKeys(postgres::Database& app, const std::vector<std::string>& keys);

    /// "mrw_<tenant>_<version>_<mac>".
    [[nodiscard]] std::string key_of(base::TenantId tenant, std::int32_t version) const;
    /// The tenant's visitors. `unauthenticated`: no key of ours, or
    /// one of an older version. `forbidden`: `origin` is not among the tenant's (empty is: callers
    /// that are no browsers). What was looked up is trusted for 4 s.
    Task<Result<Principal>> resolve(std::string key, std::string origin, Deadline deadline);

    static constexpr std::size_t k_kept_max = 4096;

 private:
    struct Known {
        std::int32_t version = 0;
        base::WallTime older_until{};
        std::vector<std::string> origins;
        base::SteadyTime until{};
    };
    [[nodiscard]] static std::string mac_of(std::string_view key, std::string_view signed_part);

    postgres::Database& app_;
    std::vector<std::string> keys_;
    std::unordered_map<base::TenantId, Known> known_;
};

/// The user that all visitors of a tenant's widget are.
[[nodiscard]] base::UserId visitors_of(base::TenantId tenant);

}  // namespace millrace::domain::identity
