// Contract §3.4: the tenant, its widget, its users and whom it invites.

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "edge/web/page.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

namespace identity = domain::identity;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::Limit;
using server::Method;
using server::Response;

namespace {

using namespace std::chrono_literals;

Response ok(const json::Value& body, int status = 200) {
    return middleware::json_response(status, json::dump(body));
}

json::Object tenant_json(Ports ports, const identity::Tenant& tenant) {
    json::Object settings{{"embedding_model", ports.deployment.embedding_model},
                          {"llm_model", ports.deployment.llm_model}};
    for (const auto& [name, value] : boost::json::parse(tenant.settings).as_object())
        settings[name] = value;
    return {{"id", tenant.id.str()},
            {"name", tenant.name},
            {"domain", tenant.domain},
            {"plan", tenant.plan},
            {"status", tenant.status},
            {"settings", std::move(settings)},
            {"created_at", base::rfc3339(tenant.created_at)}};
}

json::Object user_json(const identity::Account& user) {
    return {{"id", user.id.str()},
            {"email", user.email},
            {"username", user.username},
            {"role", user.role},
            {"is_owner", user.is_owner},
            {"is_active", user.is_active},
            {"is_verified", user.is_verified},
            {"created_at", base::rfc3339(user.created_at)}};
}

json::Object invitation_json(const identity::Invitation& invitation) {
    return {{"id", invitation.id.str()},
            {"email", invitation.email},
            {"role", invitation.role},
            {"status", invitation.status},
            {"created_at", base::rfc3339(invitation.created_at)},
            {"expires_at", base::rfc3339(invitation.expires_at)}};
}

Task<Result<Response>> read(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, own_tenant(exchange));
    CO_TRY(const auto tenant, co_await ports.tenants.find(id, exchange.deadline));
    co_return ok(tenant_json(ports, tenant));
}

Task<Result<Response>> change(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    CO_TRY(auto wanted, identity::decode_tenant_change(exchange.request.body, ports.models));
    CO_TRY(const auto tenant,
           co_await ports.tenants.change(id, std::move(wanted), exchange.deadline));
    co_return ok(tenant_json(ports, tenant));
}

Response snippet(Ports ports, base::TenantId tenant, std::int32_t version) {
    const auto key = ports.widget_keys.key_of(tenant, version);
    return ok(json::Object{
        {"snippet", fmt::format(R"(<script src="{}/widget.js" data-api-key="{}" async></script>)",
                                web::escape(ports.deployment.public_url), key)},
        {"api_key", key},
        {"tenant_id", tenant.str()}});
}

Task<Result<Response>> embed_snippet(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, own_tenant(exchange));
    CO_TRY(const auto tenant, co_await ports.tenants.find(id, exchange.deadline));
    co_return snippet(ports, id, tenant.key_version);
}

Task<Result<Response>> rotate_key(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    CO_TRY(const auto version, co_await ports.tenants.rotate_key(id, exchange.deadline));
    co_return snippet(ports, id, version);
}

Task<Result<Response>> list_users(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    CO_TRY(const auto users, co_await ports.tenants.users(id, exchange.deadline));
    json::Array body;
    for (const auto& user : users) body.push_back(user_json(user));
    co_return ok(body);
}

Task<Result<Response>> change_user(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    const auto user = base::UserId::parse(exchange.request.params.at(1));
    if (!user) co_return fail(ErrorCode::not_found, "there is no such user in this tenant");
    CO_TRY(auto wanted, identity::decode_user_change(exchange.request.body));
    CO_TRY(const auto changed,
           co_await ports.tenants.change_user(id, *user, std::move(wanted), exchange.deadline));
    co_return ok(user_json(changed));
}

Task<Result<Response>> invite(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    CO_TRY(const auto wanted, identity::decode_invite(exchange.request.body));
    CO_TRY(const auto tenant, co_await ports.tenants.find(id, exchange.deadline));
    CO_TRY(const auto inviter,
           co_await ports.accounts.find(exchange.who().user, exchange.deadline));
    identity::Invitation invitation{.id = base::uuid_v7(),
                                    .email = wanted.email,
                                    .role = wanted.role,
                                    .status = "PENDING",
                                    .created_at = std::chrono::system_clock::now()};
    auto link = ports.challenges.open_link(
        {.realm = std::string(identity::k_knowledge),
         .purpose = "invitation",
         .subject = invitation.id.str(),
         .lifetime = identity::k_invitation_lifetime,
         .data = json::dump(json::Object{{"invitation", invitation.id.str()},
                                         {"tenant", tenant.name},
                                         {"email", wanted.email}})});
    domain::mail::Letter letter{
        .name = "invitation",
        .locale = std::string(web::locale_of(exchange.request)),
        .to = wanted.email,
        .data = {{"tenant", tenant.name},
                 {"inviter", inviter.username},
                 {"url_prefix", ports.deployment.public_url + "/console/invitation?token="},
                 {"days", std::chrono::days(identity::k_invitation_lifetime).count()}},
        .secret = link.secret,
        .challenge = link.id};
    std::vector<postgres::Call> calls;
    calls.push_back(identity::Tenants::invite(invitation.id, exchange.who(), wanted));
    calls.push_back(std::move(link.call));
    const auto made =
        co_await commit_with_mail(ports, exchange, id, std::move(calls), std::move(letter));
    if (!made) co_return std::unexpected(identity::Tenants::explain_invite(made.error()));
    invitation.expires_at = (*made)[0][0].get<base::WallTime>(0);
    co_return ok(invitation_json(invitation), 201);
}

Task<Result<Response>> list_invitations(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    CO_TRY(const auto found, co_await ports.tenants.invitations(id, exchange.deadline));
    json::Array body;
    for (const auto& invitation : found) body.push_back(invitation_json(invitation));
    co_return ok(body);
}

Task<Result<Response>> revoke_invitation(Ports ports, Exchange& exchange) {
    CO_TRY(const auto id, administered_tenant(exchange));
    const auto invitation = base::Uuid::parse(exchange.request.params.at(1));
    bool revoked = false;
    if (invitation) {
        CO_TRY(revoked,
               co_await ports.tenants.revoke_invitation(id, *invitation, exchange.deadline));
    }
    if (!revoked) co_return fail(ErrorCode::not_found, "there is no such open invitation");
    co_return ok(json::Object{{"message", "招待を取り消しました"}});
}

}  // namespace

Result<base::TenantId> own_tenant(const Exchange& exchange) {
    const auto id = base::TenantId::parse(exchange.request.params.at(0));
    if (id && *id == exchange.who().tenant) return *id;
    return fail(ErrorCode::not_found, "there is no such tenant");
}

Result<base::TenantId> administered_tenant(const Exchange& exchange) {
    TRY(const auto id, own_tenant(exchange));
    TRY_VOID(require_admin(exchange));
    return id;
}

std::vector<Endpoint> tenants_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    const std::vector<Limit> mails = {
        {.name = "invitations", .per = Limit::Per::user, .max = 20, .window = 600s}};
    return {
        {Method::get, "/api/v1/tenants/{tenant_id}", "getTenant", Auth::bearer, with(read)},
        {Method::patch, "/api/v1/tenants/{tenant_id}", "changeTenant", Auth::bearer, with(change)},
        {Method::get, "/api/v1/tenants/{tenant_id}/embed-snippet", "getEmbedSnippet", Auth::bearer,
         with(embed_snippet)},
        {Method::post, "/api/v1/tenants/{tenant_id}/api-key/rotate", "rotateWidgetKey",
         Auth::bearer, with(rotate_key)},
        {Method::get, "/api/v1/tenants/{tenant_id}/users", "listUsers", Auth::bearer,
         with(list_users)},
        {Method::patch, "/api/v1/tenants/{tenant_id}/users/{user_id}", "changeUser", Auth::bearer,
         with(change_user)},
        {Method::get, "/api/v1/tenants/{tenant_id}/invitations", "listInvitations", Auth::bearer,
         with(list_invitations)},
        {Method::post,
         "/api/v1/tenants/{tenant_id}/invitations",
         "invite",
         Auth::bearer,
         with(invite),
         {},
         mails,
         true},
        {Method::del, "/api/v1/tenants/{tenant_id}/invitations/{invitation_id}", "revokeInvitation",
         Auth::bearer, with(revoke_invitation)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
