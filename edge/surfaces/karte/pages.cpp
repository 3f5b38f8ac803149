#include <fmt/format.h>

#include "edge/surfaces/karte/karte.hpp"
#include "edge/web/page.hpp"

namespace millrace::edge::surfaces::karte {

namespace {

struct Text {
    std::string_view ja, en;
    [[nodiscard]] std::string_view in(std::string_view locale) const {
        return locale == "en" ? en : ja;
    }
};

std::string paragraph(std::string_view text) {
    return fmt::format("<p>{}</p>", web::escape(text));
}

std::string_view origin_of(std::string_view url) {
    return url.substr(0, url.find_first_of("/?#", url.find("://") + 3));
}

/// Browsers hold the redirects that follow a form against form-action too, and the button's way
/// ends outside.
void allow_way_to(server::Response& response, std::string_view url) {
    if (url.empty()) return;
    for (auto& [name, value] : response.headers) {
        if (name == "Content-Security-Policy")
            value.insert(value.find("form-action 'self'") + 18, fmt::format(" {}", origin_of(url)));
    }
}

}  // namespace

server::Response confirm_page(std::string_view token, std::string_view locale,
                              const Destinations& destinations) {
    constexpr Text title{"Karte AI+ にログイン", "Sign in to Karte AI+"};
    constexpr Text body{"下のボタンを押すとログインします。このリンクは一度だけ使えます。",
                        "Press the button to sign in. This link works once."};
    constexpr Text button{"ログイン", "Sign in"};
    auto response = web::html_response(
        200,
        web::page(title.in(locale),
                  paragraph(body.in(locale)) + web::button_form(token, token, button.in(locale)),
                  locale));
    allow_way_to(response, destinations.checkout);
    allow_way_to(response, destinations.success);
    return response;
}

server::Response notice_page(int status, Notice notice, std::string_view locale) {
    struct Words {
        Text title, body;
    };
    constexpr Words stale{
        {"このリンクは使えません", "This link does not work any more"},
        {"リンクが無効か、使用済みか、有効期限が切れています。もう一度ログイン用リンクを"
         "送信してください。",
         "It is not valid, was used already, or has expired. Please ask for a new sign-in link."}};
    constexpr Words signed_in{{"ログインしました", "You are signed in"},
                              {"この画面は閉じてかまいません。", "You may close this page."}};
    const auto& words = notice == Notice::stale ? stale : signed_in;
    return web::html_response(
        status, web::page(words.title.in(locale), paragraph(words.body.in(locale)), locale));
}

}  // namespace millrace::edge::surfaces::karte
