#include "shared/domain/billing/provider_keys.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"

namespace millrace::domain::billing {

namespace {

constexpr std::size_t k_key_bytes = 32;
constexpr std::size_t k_api_key_max = 500;
constexpr std::size_t k_kept_max = 10'000;
constexpr auto k_trusted = std::chrono::seconds(4);

const postgres::Statement k_create{"provider_key_create", R"sql(
INSERT INTO provider_keys (id, tenant_id, provider, model, sealed_with, sealed) VALUES ($1, $2, $3, $4, $5, $6) RETURNING created_at)sql"};
const postgres::Statement k_list{"provider_key_list", R"sql(
SELECT id, provider, model, is_active, created_at FROM provider_keys WHERE tenant_id = $1 ORDER BY id DESC LIMIT 1000)sql"};
const postgres::Statement k_remove{"provider_key_remove",
                                   "DELETE FROM provider_keys WHERE tenant_id = $1 AND id = $2"};
const postgres::Statement k_find{"provider_key_find", R"sql(
SELECT id, model, sealed_with, sealed FROM provider_keys WHERE tenant_id = $1 AND provider = $2 AND is_active ORDER BY id DESC LIMIT 1)sql"};

/// A sealed key opens only in its own row.
std::string context_of(base::TenantId tenant, const base::Uuid& id) {
    return "provider key " + tenant.str() + " " + id.str();
}

}  // namespace

Result<NewProviderKey> decode_provider_key(std::string_view body,
                                           const std::vector<std::string>& models) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    NewProviderKey out{.provider = in.string("provider", {1, 50}),
                       .model = in.string("model", {1, 100}),
                       .api_key = in.string("api_key", {1, k_api_key_max})};
    if (out.provider != k_openai) in.reject("provider", fmt::format("must be {}", k_openai));
    if (std::ranges::find(models, out.model) == models.end())
        in.reject("model", fmt::format("must be one of: {}", fmt::join(models, ", ")));
    if (!std::ranges::all_of(out.api_key, [](unsigned char c) { return c > 0x20 && c < 0x7F; }))
        in.reject("api_key", "must be visible ASCII characters");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

ProviderKeys::ProviderKeys(postgres::Database& app, const std::vector<std::string>& secrets)
    : app_(app) {
    for (const auto& secret : secrets) keys_.push_back(base::derive_key(secret, "provider keys"));
}

Task<Result<ProviderKey>> ProviderKeys::create(base::TenantId tenant, NewProviderKey key,
                                               Deadline deadline) {
    const auto id = base::uuid_v7();
    const auto context = context_of(tenant, id);
    std::string own(k_key_bytes, '\0');
    base::random_fill(reinterpret_cast<std::uint8_t*>(own.data()), own.size());
    const auto sealed = base::seal(own, context, key.api_key);
    const auto sealed_with = base::seal(keys_.front(), context, own);
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant,
               postgres::call(k_create, id, tenant, key.provider, key.model,
                              postgres::Bytes{sealed_with}, postgres::Bytes{sealed}),
               deadline));
    known_.erase({tenant, key.provider});
    co_return ProviderKey{.id = id,
                          .provider = key.provider,
                          .model = key.model,
                          .created_at = results[0].get<base::WallTime>(0)};
}

Task<Result<std::vector<ProviderKey>>> ProviderKeys::list(base::TenantId tenant,
                                                          Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_list, tenant), deadline));
    std::vector<ProviderKey> out;
    for (std::size_t r = 0; r < results.size(); ++r) {
        const auto row = results[r];
        out.push_back({.id = row.get<base::Uuid>(0),
                       .provider = row.get<std::string>(1),
                       .model = row.get<std::string>(2),
                       .is_active = row.get<bool>(3),
                       .created_at = row.get<base::WallTime>(4)});
    }
    co_return out;
}

Task<Result<bool>> ProviderKeys::remove(base::TenantId tenant, base::Uuid id, Deadline deadline) {
    CO_TRY(const auto results, co_await postgres::in_tenant(
                                   app_, tenant, postgres::call(k_remove, tenant, id), deadline));
    co_return results.affected() > 0;
}

Result<std::string> ProviderKeys::open(base::TenantId tenant, const base::Uuid& id,
                                       std::string_view sealed_with,
                                       std::string_view sealed) const {
    const auto context = context_of(tenant, id);
    for (const auto& key : keys_) {
        const auto own = base::unseal(key, context, sealed_with);
        if (!own) continue;
        if (auto api_key = base::unseal(*own, context, sealed)) return std::move(*api_key);
    }
    return fail(ErrorCode::internal, "the tenant's API key cannot be opened",
                {.log = "provider key " + id.str() + ": sealed with another MILLRACE_SECRET_KEY"});
}

Task<Result<std::optional<ProviderCredential>>> ProviderKeys::credential(base::TenantId tenant,
                                                                         std::string provider,
                                                                         Deadline deadline) {
    const auto now = std::chrono::steady_clock::now();
    const std::pair slot{tenant, provider};
    if (const auto found = known_.find(slot); found != known_.end() && found->second.until > now)
        co_return found->second.credential;
    CO_TRY(const auto results,
           co_await postgres::in_tenant(app_, tenant, postgres::call(k_find, tenant, provider),
                                        deadline));
    std::optional<ProviderCredential> credential;
    if (!results.empty()) {
        const auto row = results[0];
        CO_TRY(auto api_key, open(tenant, row.get<base::Uuid>(0), row.get<std::string_view>(2),
                                  row.get<std::string_view>(3)));
        credential = {.model = row.get<std::string>(1), .key = std::move(api_key)};
    }
    if (known_.size() >= k_kept_max) known_.clear();
    known_.insert_or_assign(slot, Known{credential, now + k_trusted});
    co_return credential;
}

}  // namespace millrace::domain::billing
