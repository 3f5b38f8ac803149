// /console: the pages that links in mails open. A GET changes nothing, however often a mail scanner
// sends it; the button posts the token [S5].

#include <fmt/format.h>

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "edge/web/page.hpp"
#include "shared/domain/audit/audit.hpp"
#include "shared/json/reader.hpp"
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

constexpr auto k_join_lifetime = std::chrono::minutes(15);
constexpr std::string_view k_verify = "/console/verify";
constexpr std::string_view k_invitation = "/console/invitation";
constexpr std::string_view k_reset = "/console/reset";

/// One language of the two.
class Words {
 public:
    explicit Words(const Exchange& exchange) : locale_(web::locale_of(exchange.request)) {}
    [[nodiscard]] std::string_view operator()(std::string_view ja, std::string_view en) const {
        return locale_ == "en" ? en : ja;
    }
    [[nodiscard]] Response page(int status, std::string_view title, std::string_view body) const {
        return web::html_response(status, web::page(title, body, locale_));
    }
    [[nodiscard]] Response text(int status, std::string_view title, std::string_view text) const {
        return page(status, title, fmt::format("<p>{}</p>", web::escape(text)));
    }
    [[nodiscard]] Response expired() const {
        return text(
            410, (*this)("リンクは無効です", "This link is not valid any more"),
            (*this)("有効期限が切れたか、すでに使用されています。もう一度メールをご請求ください。",
                    "It has expired or was used already. Please ask for a new mail."));
    }

 private:
    std::string_view locale_;
};

/// The open link of the query's or the form's token. Whoever holds it acts for its account.
Task<Result<std::optional<identity::Redeemed>>> seen(Ports ports, Exchange& exchange,
                                                     std::string purpose, std::string token) {
    CO_TRY(auto link, co_await ports.challenges.see_link(std::move(purpose), std::move(token),
                                                         exchange.deadline));
    if (link && link->user) exchange.actor = domain::audit::user_actor(*link->user);
    co_return link;
}

std::string query_token(const Exchange& exchange) {
    return exchange.request.query_param("token").value_or("");
}

std::string form_value(const Exchange& exchange, std::string_view name) {
    return server::form_value(exchange.request.body, name).value_or("");
}

/// What is remembered with a link, as text.
std::string remembered(const identity::Redeemed& link, std::string_view name) {
    const auto document = json::parse(link.data);
    return document ? document->reader().optional_string(name).value_or("") : "";
}

std::string input(std::string_view name, std::string_view type, std::string_view label,
                  std::string_view autocomplete) {
    return fmt::format(
        R"(<p><label>{}<br><input name="{}" type="{}" autocomplete="{}" required></label></p>)",
        web::escape(label), name, type, autocomplete);
}

std::string complaint(const Error& error) {
    return fmt::format("<p role=\"alert\"><strong>{}</strong></p>", web::escape(error.detail));
}

Task<Result<Response>> verify_page(Ports ports, Exchange& exchange) {
    const Words words(exchange);
    const auto token = query_token(exchange);
    CO_TRY(const auto link, co_await seen(ports, exchange, "email_verify", token));
    if (!link) co_return words.expired();
    const auto text = fmt::format(
        fmt::runtime(
            words("<p>{} を、ユーザー「{}」のメールアドレスとして確認します。</p>"
                  "<p>ご自身で登録していない場合は、何もせずにこのページを閉じてください。</p>",
                  "<p>Confirm {} as the address of the user “{}”.</p>"
                  "<p>If you did not register this account yourself, close this page.</p>")),
        web::escape(remembered(*link, "email")), web::escape(remembered(*link, "username")));
    co_return words.page(200, words("メールアドレスの確認", "Confirm your address"),
                         text + web::button_form(k_verify, token, words("確認する", "Confirm")));
}

/// The second button: its own link, since the first is used up.
Task<Result<Response>> offer_to_join(Ports ports, Exchange& exchange,
                                     identity::Tenants::Confirmed confirmed) {
    const Words words(exchange);
    const auto link = ports.challenges.open_link({.realm = std::string(identity::k_knowledge),
                                                  .purpose = "join_tenant",
                                                  .subject = confirmed.user.str(),
                                                  .user = confirmed.user,
                                                  .lifetime = k_join_lifetime});
    CO_TRY_VOID(co_await ports.app.run(link.call, exchange.deadline));
    const auto& company = *confirmed.joinable;
    const auto text = fmt::format(
        fmt::runtime(words(
            "<p>このアドレスのドメインは「{}」のものです。参加すると、その資料を利用できます。</p>",
            "<p>The domain of this address belongs to “{}”. Join to use its documents.</p>")),
        web::escape(company));
    const auto label = fmt::format(fmt::runtime(words("{} に参加する", "Join {}")), company);
    co_return words.page(200, words("メールアドレスを確認しました", "Your address is confirmed"),
                         text + web::button_form(k_verify, link.secret, label, "join"));
}

Task<Result<Response>> join(Ports ports, Exchange& exchange, std::string token) {
    const Words words(exchange);
    CO_TRY(const auto link, co_await seen(ports, exchange, "join_tenant", token));
    if (!link) co_return words.expired();
    const auto company = co_await ports.tenants.join_by_address(link->id, exchange.deadline);
    if (!company && company.error().code == ErrorCode::conflict) co_return words.expired();
    if (!company) co_return std::unexpected(company.error());
    co_return words.text(
        200, words("参加しました", "You have joined"),
        fmt::format(fmt::runtime(words("「{}」に参加しました。このページは閉じてかまいません。",
                                       "You are now a member of “{}”. You may close this page.")),
                    *company));
}

Task<Result<Response>> verify(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(web::require_same_origin(exchange.request, ports.deployment.public_url));
    const Words words(exchange);
    auto token = form_value(exchange, "token");
    if (form_value(exchange, "choice") == "join")
        co_return co_await join(ports, exchange, std::move(token));
    CO_TRY(const auto link, co_await seen(ports, exchange, "email_verify", token));
    if (!link) co_return words.expired();
    CO_TRY(auto confirmed, co_await ports.tenants.confirm_address(link->id, exchange.deadline));
    if (!confirmed) co_return words.expired();
    if (confirmed->joinable)
        co_return co_await offer_to_join(ports, exchange, std::move(*confirmed));
    co_return words.text(200, words("メールアドレスを確認しました", "Your address is confirmed"),
                         words("このページは閉じてかまいません。", "You may close this page."));
}

Response invitation_form(const Words& words, const identity::Redeemed& link, std::string_view token,
                         int status, const std::string& complaint) {
    const auto text = fmt::format(
        fmt::runtime(words("<p>「{}」への招待です。{} のアカウントを作成します。</p>",
                           "<p>You are invited to “{}”. This makes an account for {}.</p>")),
        web::escape(remembered(link, "tenant")), web::escape(remembered(link, "email")));
    const auto inputs =
        input("username", "text",
              words("ユーザー名（英数字と _）", "User name (letters, digits, _)"), "username") +
        input("password", "password",
              words("パスワード（8文字以上、大文字・小文字・数字）",
                    "Password (8 or more: upper case, lower case, digit)"),
              "new-password");
    return words.page(status, words("招待", "Invitation"),
                      text + complaint +
                          web::token_form(k_invitation, token,
                                          words("アカウントを作成", "Make the account"), inputs));
}

Task<Result<Response>> invitation_page(Ports ports, Exchange& exchange) {
    const Words words(exchange);
    const auto token = query_token(exchange);
    CO_TRY(const auto link, co_await seen(ports, exchange, "invitation", token));
    co_return link ? invitation_form(words, *link, token, 200, "") : words.expired();
}

Task<Result<Response>> accept(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(web::require_same_origin(exchange.request, ports.deployment.public_url));
    const Words words(exchange);
    const auto token = form_value(exchange, "token");
    CO_TRY(const auto link, co_await seen(ports, exchange, "invitation", token));
    if (!link) co_return words.expired();
    auto acceptance = identity::decode_acceptance(
        json::dump(json::Object{{"token", token},
                                {"username", form_value(exchange, "username")},
                                {"password", form_value(exchange, "password")}}),
        true);
    if (!acceptance)
        co_return invitation_form(words, *link, token, 422, complaint(acceptance.error()));
    const auto joined =
        co_await accept_invitation(ports, exchange, std::move(*acceptance), std::nullopt);
    if (!joined && joined.error().reason == "LINK_EXPIRED") co_return words.expired();
    if (!joined && joined.error().code == ErrorCode::conflict)
        co_return invitation_form(words, *link, token, 409, complaint(joined.error()));
    if (!joined) co_return std::unexpected(joined.error());
    co_return words.text(
        200, words("参加しました", "You have joined"),
        fmt::format(
            fmt::runtime(words("「{}」に参加しました。作成したアカウントでログインできます。",
                               "You are now a member of “{}” and can sign in.")),
            joined->tenant_name));
}

Response reset_form(const Words& words, std::string_view token, int status,
                    const std::string& complaint) {
    const auto inputs = input("password", "password",
                              words("新しいパスワード（8文字以上、大文字・小文字・数字）",
                                    "New password (8 or more: upper case, lower case, digit)"),
                              "new-password");
    return words.page(
        status, words("パスワードの再設定", "Set a new password"),
        complaint + web::token_form(k_reset, token, words("変更する", "Change it"), inputs));
}

Task<Result<Response>> reset_page(Ports ports, Exchange& exchange) {
    const Words words(exchange);
    const auto token = query_token(exchange);
    CO_TRY(const auto link, co_await seen(ports, exchange, "password_reset", token));
    co_return link ? reset_form(words, token, 200, "") : words.expired();
}

Task<Result<Response>> reset(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(web::require_same_origin(exchange.request, ports.deployment.public_url));
    const Words words(exchange);
    const auto token = form_value(exchange, "token");
    const auto body =
        json::dump(json::Object{{"token", token}, {"password", form_value(exchange, "password")}});
    const auto done = co_await confirm_reset(ports, exchange, body);
    if (!done && done.error().field == "token") co_return words.expired();
    if (!done && done.error().code == ErrorCode::invalid)
        co_return reset_form(words, token, 422, complaint(done.error()));
    if (!done) co_return std::unexpected(done.error());
    co_return words.text(
        200, words("パスワードを変更しました", "Your password is changed"),
        words("新しいパスワードでログインしてください。", "Please sign in with the new one."));
}

}  // namespace

std::vector<Endpoint> page_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    const std::vector<Limit> rate = {{.name = "console",
                                      .per = Limit::Per::ip,
                                      .max = ports.deployment.auth_rate,
                                      .window = k_minute}};
    return {
        {Method::get, "/console/verify", "showVerification", Auth::none, with(verify_page)},
        {Method::post, "/console/verify", "confirmAddress", Auth::none, with(verify), {}, rate},
        {Method::get, "/console/invitation", "showInvitation", Auth::none, with(invitation_page)},
        {Method::post,
         "/console/invitation",
         "acceptInvitationForm",
         Auth::none,
         with(accept),
         {},
         rate},
        {Method::get, "/console/reset", "showPasswordReset", Auth::none, with(reset_page)},
        {Method::post, "/console/reset", "resetPasswordForm", Auth::none, with(reset), {}, rate},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
