#include "edge/web/page.hpp"

#include <fmt/format.h>

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"

namespace millrace::edge::web {

namespace {

constexpr std::string_view k_style =
    "body{font-family:system-ui,sans-serif;line-height:1.6;margin:0;background:#f4f5f7;color:#"
    "1c1e21}"
    "main{max-width:26rem;margin:12vh auto 0;padding:2rem;background:#fff;border-radius:8px;"
    "box-shadow:0 1px 4px #0003}"
    "h1{font-size:1.25rem;margin:0 0 1rem}form{margin:1rem 0 0}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:6px;background:#1a56c4;"
    "color:#fff;cursor:pointer}button:focus-visible{outline:3px solid #88b0ff}";

/// The policy names the style sheet by its hash (CSP 3 §2.3.1: base64, padded).
std::string policy() {
    return fmt::format(
        "default-src 'none'; style-src 'sha256-{}'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'",
        base::base64(base::view(base::sha256(k_style))));
}

std::string_view origin_of(std::string_view url) {
    const auto host = url.find("://");
    return host == std::string_view::npos ? url : url.substr(0, url.find('/', host + 3));
}

}  // namespace

std::string escape(std::string_view text) {
    return base::html_escape(text);
}

std::string page(std::string_view title, std::string_view body_html, std::string_view locale) {
    const auto shown = escape(title);
    return fmt::format(
        "<!DOCTYPE html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        "<meta name=\"robots\" content=\"noindex\"><title>{}</title><style>{}</style></head>"
        "<body><main><h1>{}</h1>\n{}\n</main></body></html>\n",
        escape(locale), shown, k_style, shown, body_html);
}

std::string token_form(std::string_view action, std::string_view token, std::string_view label,
                       std::string_view inputs_html) {
    return fmt::format(
        R"(<form method="post" action="{}"><input type="hidden" name="token" value="{}">{}<button type="submit">{}</button></form>)",
        escape(action), escape(token), inputs_html, escape(label));
}

std::string button_form(std::string_view action, std::string_view token, std::string_view label,
                        std::string_view choice) {
    const auto meaning =
        choice.empty()
            ? std::string()
            : fmt::format(R"(<input type="hidden" name="choice" value="{}">)", escape(choice));
    return token_form(action, token, label, meaning);
}

server::Response html_response(int status, std::string html) {
    static const std::string k_policy = policy();
    server::Response response;
    response.status = status;
    response.content_type = "text/html; charset=utf-8";
    response.body = std::move(html);
    response.headers.emplace_back("Content-Security-Policy", k_policy);
    return response;
}

std::string_view locale_of(const server::Request& request) {
    // The first of the two that is named: clients list what they like best first.
    const auto wanted = base::ascii_lower(request.header("accept-language"));
    return wanted.find("en") < wanted.find("ja") ? "en" : "ja";
}

Result<void> require_same_origin(const server::Request& request, std::string_view public_url) {
    const auto site = request.header("sec-fetch-site");
    const auto origin = request.header("origin");
    // Our pages send no referrer, so their own forms have `Origin: null`: Sec-Fetch-Site, which no
    // page can forge, goes first.
    const bool ours = !site.empty() ? site == "same-origin" || site == "none"
                                    : origin.empty() || origin == origin_of(public_url);
    if (ours) return {};
    return fail(ErrorCode::forbidden, "this form was sent from another site");
}

}  // namespace millrace::edge::web
