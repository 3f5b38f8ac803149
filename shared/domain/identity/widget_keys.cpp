#include "shared/domain/identity/widget_keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "shared/base/crypto.hpp"
#include "shared/domain/identity/jwt.hpp"

namespace millrace::domain::identity {

namespace {

constexpr std::string_view k_prefix = "mrw_";
constexpr std::size_t k_uuid_chars = 36;
constexpr std::size_t k_mac_bytes = 24;
constexpr std::size_t k_key_bytes_max = 128;
constexpr auto k_trusted = std::chrono::seconds(4);

const postgres::Statement k_tenant{"widget_tenant",
                                   "SELECT version, older_until, origins FROM widget_tenant($1)"};

}  // namespace

WidgetKeys::WidgetKeys(postgres::Database& app, const std::vector<std::string>& keys) : app_(app) {
    for (const auto& key : keys) keys_.push_back(base::derive_key(key, "widget keys"));
}

std::string WidgetKeys::mac_of(std::string_view key, std::string_view signed_part) {
    return base::base64url(base::view(base::hmac_sha256(key, signed_part)).substr(0, k_mac_bytes));
}

std::string WidgetKeys::key_of(base::TenantId tenant, std::int32_t version) const {
    const auto signed_part = fmt::format("{}{}_{}", k_prefix, tenant.str(), version);
    return signed_part + "_" + mac_of(keys_.front(), signed_part);
}

Task<Result<Principal>> WidgetKeys::resolve(std::string key, std::string origin,
                                            Deadline deadline) {
    constexpr auto version_at = k_prefix.size() + k_uuid_chars + 1;
    const auto mac_at = key.find('_', version_at);
    if (!key.starts_with(k_prefix) || key.size() > k_key_bytes_max || mac_at == std::string::npos)
        co_return refuse_credential("no widget key");
    const auto text = std::string_view(key);
    const bool ours = std::ranges::any_of(keys_, [text, mac_at](const auto& secret) {
        return base::equal_constant_time(mac_of(secret, text.substr(0, mac_at)),
                                         text.substr(mac_at + 1));
    });
    if (!ours) co_return refuse_credential("not our widget key");
    const auto tenant = base::TenantId::parse(text.substr(k_prefix.size(), k_uuid_chars));
    std::int32_t version = 0;
    std::from_chars(key.data() + version_at, key.data() + mac_at, version);
    if (!tenant) co_return refuse_credential("a widget key of no tenant");

    const auto now = std::chrono::steady_clock::now();
    auto found = known_.find(*tenant);
    if (found == known_.end() || found->second.until <= now) {
        CO_TRY(const auto rows, co_await app_.run(postgres::call(k_tenant, *tenant), deadline));
        if (rows.empty()) co_return refuse_credential("the key's tenant has gone");
        if (known_.size() >= k_kept_max) known_.clear();
        Known known{
            .version = rows[0].get<std::int32_t>(0),
            .older_until = rows[0].get<std::optional<base::WallTime>>(1).value_or(base::WallTime{}),
            .origins = rows[0].get<std::vector<std::string>>(2),
            .until = now + k_trusted};
        found = known_.insert_or_assign(*tenant, std::move(known)).first;
    }
    const auto& known = found->second;
    const bool current =
        version == known.version ||
        (version == known.version - 1 && std::chrono::system_clock::now() < known.older_until);
    if (!current) co_return refuse_credential("a widget key that was replaced");
    if (!origin.empty() && std::ranges::find(known.origins, origin) == known.origins.end()) {
        co_return fail(ErrorCode::forbidden,
                       "this origin is not among the tenant's allowed origins");
    }
    co_return Principal{
        .tenant = *tenant, .user = visitors_of(*tenant), .role = "WIDGET", .audience = "knowledge"};
}

base::UserId visitors_of(base::TenantId tenant) {
    return {base::named_uuid("widget visitors of " + tenant.str())};
}

}  // namespace millrace::domain::identity
