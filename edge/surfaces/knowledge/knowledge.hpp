#pragma once
// The knowledge product: a multi-tenant document chatbot (contract knowledge.md).

#include <string>
#include <vector>

#include "edge/middleware/job_gate.hpp"
#include "edge/surfaces/jobs/jobs.hpp"
#include "edge/web/assets.hpp"
#include "shared/domain/billing/budgets.hpp"
#include "shared/domain/billing/provider_keys.hpp"
#include "shared/domain/billing/usage.hpp"
#include "shared/domain/identity/challenges.hpp"
#include "shared/domain/identity/tenants.hpp"
#include "shared/domain/identity/widget_keys.hpp"
#include "shared/domain/jobs/publish.hpp"
#include "shared/domain/knowledge/files.hpp"
#include "shared/domain/knowledge/generations.hpp"
#include "shared/domain/mail/post.hpp"
#include "shared/object_store/object_store.hpp"
#include "shared/providers/payments/payments.hpp"

namespace millrace::edge::surfaces::knowledge {

inline constexpr auto k_minute = std::chrono::seconds(60);
inline constexpr std::string_view k_product = "Millrace Knowledge";  ///< as mails call it

/// What of the configuration is answered or used here.
struct Deployment {
    std::string public_url;
    std::string llm_model, embedding_model;                ///< of a tenant that chose none
    int auth_rate = 10, chat_rate = 60, upload_rate = 10;  ///< a minute (contract §6)
    std::int64_t storage_max = 0;  ///< bytes of a tenant's documents; 0: no limit
};

struct Ports {
    const Deployment& deployment;
    domain::identity::Accounts& accounts;
    const domain::identity::RefreshTokens& refresh_tokens;
    domain::identity::Challenges& challenges;
    domain::identity::Tenants& tenants;
    const domain::identity::WidgetKeys& widget_keys;
    domain::mail::Post post;
    postgres::Database& app;
    middleware::RateLimits& limits;
    domain::knowledge::Files& files;
    domain::knowledge::IndexGenerations& generations;
    domain::jobs::Publisher& publisher;
    postgres::Database& pipeline;  ///< millrace_pipeline, for idempotency keys
    object_store::Store& objects;
    middleware::JobGate& gate;
    jobs::Ports jobs;
    const events::Catalog& catalog;
    const std::vector<std::string>& models;  ///< names that a question may use
    domain::billing::ProviderKeys& provider_keys;
    providers::payments::Payments* payments;  ///< null: not configured
    const web::Assets& assets;
};

/// A query parameter: an integer, or `fallback` without it.
[[nodiscard]] Result<std::int64_t> integer_param(const middleware::Exchange& exchange,
                                                 std::string_view name, std::int64_t fallback,
                                                 std::int64_t min, std::int64_t max);
[[nodiscard]] Result<std::optional<std::string>> choice_param(
    const middleware::Exchange& exchange, std::string_view name,
    std::initializer_list<std::string_view> choices);

/// `forbidden` to everybody but ADMINs and the owner ("Admin" in the contract).
[[nodiscard]] Result<void> require_admin(const middleware::Exchange& exchange);

/// The tenant of the path, which must be the caller's own: another's does not exist. The second
/// asks for an administrator too.
[[nodiscard]] Result<base::TenantId> own_tenant(const middleware::Exchange& exchange);
[[nodiscard]] Result<base::TenantId> administered_tenant(const middleware::Exchange& exchange);

/// Counts the request of this user against `max` a minute.
Task<Result<void>> take_user_rate(Ports ports, middleware::Exchange& exchange,
                                  std::string_view name, int max);

/// Counts the request of a widget's visitor, who is an address, and of all its visitors together.
Task<Result<void>> take_visitor_rate(Ports ports, middleware::Exchange& exchange);

/// Runs `calls` in one transaction of `tenant` together with the acceptance of the mail; what they
/// returned. The mail is a job of nobody's list.
Task<Result<std::vector<postgres::Rows>>> commit_with_mail(Ports ports,
                                                           middleware::Exchange& exchange,
                                                           base::TenantId tenant,
                                                           std::vector<postgres::Call> calls,
                                                           domain::mail::Letter letter);

/// Uses an invitation's link up: a new account, or `existing` moves.
Task<Result<domain::identity::Tenants::Joined>> accept_invitation(
    Ports ports, middleware::Exchange& exchange, domain::identity::Acceptance acceptance,
    std::optional<base::UserId> existing);
/// Sets a new password by a mailed link.
Task<Result<void>> confirm_reset(Ports ports, middleware::Exchange& exchange,
                                 std::string_view body);

/// `{detail, error_code, timestamp}`; invalid input is 422.
[[nodiscard]] middleware::Surface surface();
[[nodiscard]] std::vector<middleware::Endpoint> auth_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> tenants_endpoints(Ports ports);
/// /docs, /redoc, /widget.js, /console and their files.
[[nodiscard]] std::vector<middleware::Endpoint> site_endpoints(Ports ports);
/// Under /console: what links in mails open.
[[nodiscard]] std::vector<middleware::Endpoint> page_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> contents_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> generations_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> chats_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> conversations_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> api_keys_endpoints(Ports ports);
/// Usage and checkout.
[[nodiscard]] std::vector<middleware::Endpoint> billing_endpoints(Ports ports);

}  // namespace millrace::edge::surfaces::knowledge
