// Every template in both languages, the renderer's rules, and what a value may not do.

#include <doctest/doctest.h>

#include <set>

#include "shared/json/writer.hpp"
#include "workers/mail/templates.hpp"

using namespace millrace;
using domain::mail::Letter;
using workers::mail::render;
using workers::mail::template_files;

namespace {

const std::map<std::string, json::Object>& data() {
    static const std::map<std::string, json::Object> all = {
        {"otp", {{"product", "planner"}, {"purpose", "login"}, {"minutes", 10}}},
        {"password_reset",
         {{"product", "diary"},
          {"url_prefix", "https://example.com/reset?token="},
          {"minutes", 30}}},
        {"magic_link",
         {{"product", "karte"}, {"url_prefix", "https://example.com/login/"}, {"minutes", 15}}},
        {"verify_email",
         {{"product", "knowledge"},
          {"url_prefix", "https://example.com/verify?t="},
          {"hours", 24}}},
        {"invitation",
         {{"product", "knowledge"},
          {"tenant", "Acme & Sons"},
          {"inviter", "山田 太郎"},
          {"url_prefix", "https://example.com/i/"},
          {"days", 7}}},
        {"already_registered",
         {{"product", "knowledge"}, {"login_url", "https://example.com/login?a=1&b=2"}}},
        {"security_notice",
         {{"product", "diary"}, {"what", "password_changed"}, {"when", "2026-01-31T23:30:00Z"}}}};
    return all;
}

bool has_secret(const std::string& name) {
    return name != "already_registered" && name != "security_notice";
}

Letter letter(const std::string& name, const std::string& locale) {
    return {.name = name,
            .locale = locale,
            .to = "alice@example.com",
            .data = data().at(name),
            .secret = has_secret(name) ? "493027" : ""};
}

/// Names of the letters that have a template, by the files.
std::set<std::string> names() {
    std::set<std::string> out;
    for (const auto& [file, text] : template_files())
        if (file.ends_with(".txt")) out.insert(file.substr(0, file.find('.')));
    return out;
}

}  // namespace

TEST_CASE("every letter is there in both languages, and renders") {
    std::set<std::string> known;
    for (const auto& [name, values] : data()) known.insert(name);
    REQUIRE(names() == known);
    for (const auto& name : known) {
        for (const std::string locale : {"ja", "en"}) {
            CAPTURE(name);
            CAPTURE(locale);
            const auto out = render(letter(name, locale));
            REQUIRE_MESSAGE(out.has_value(), (out ? "" : out.error().detail));
            for (const auto& text : {out->subject, out->text, out->html}) {
                CHECK(!text.empty());
                CHECK(text.find("{{") == std::string::npos);
                CHECK(text.find("}}") == std::string::npos);
            }
            CHECK(out->subject.find('\n') == std::string::npos);
            CHECK(out->html.find("lang=\"" + locale + "\"") != std::string::npos);
            CHECK(out->html.find("<img") == std::string::npos);
            if (has_secret(name)) CHECK(out->text.find("493027\n") != std::string::npos);
            if (has_secret(name)) CHECK(out->html.find("493027") != std::string::npos);
            CHECK(out->subject.find("493027") == std::string::npos);
        }
    }
}

TEST_CASE("each value that a template shows must be given, and nothing else is needed") {
    for (const auto& [name, values] : data()) {
        for (const auto& [key, value] : values) {
            CAPTURE(name);
            const std::string member(key);
            CAPTURE(member);
            auto without = letter(name, "ja");
            without.data.erase(key);
            const auto out = render(without);
            REQUIRE_FALSE(out.has_value());
            CHECK(out.error().code == ErrorCode::invalid);
            const auto shown = member == "url_prefix" ? "data.link" : "data." + member;
            CHECK(out.error().field == shown);
        }
        auto without = letter(name, "en");
        without.secret.clear();
        CHECK(render(without).has_value() == !has_secret(name));
        auto more = letter(name, "en");
        more.data["a_later_caller_says"] = "more";
        CHECK(render(more).has_value());
    }
    CHECK_FALSE(render({.name = "no_such", .locale = "ja"}).has_value());
    CHECK_FALSE(render({.name = "page", .locale = "ja"}).has_value());
}

TEST_CASE("values cannot become markup, lines, placeholders or script addresses") {
    auto hostile = letter("invitation", "en");
    hostile.data["inviter"] = "<script>alert('x')</script>\r\nBcc: eve@example.com\n\n{{secret}}";
    hostile.data["tenant"] = "Q&A \"quoted\"";
    const auto out = render(hostile);
    REQUIRE(out.has_value());
    CHECK(out->html.find("<script") == std::string::npos);
    CHECK(out->html.find("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") != std::string::npos);
    CHECK(out->html.find("Q&amp;A &quot;quoted&quot;") != std::string::npos);
    CHECK(out->text.find("\nBcc") == std::string::npos);
    CHECK(out->text.find("{{secret}}") != std::string::npos);  // as the text that it is
    CHECK(out->subject == "You are invited to Q&A \"quoted\" on Knowledge");

    auto script = letter("already_registered", "en");
    script.data["login_url"] = "javascript:alert(1)";
    CHECK_FALSE(render(script).has_value());
    for (const auto& value : {json::Value(nullptr), json::Value(""), json::Value(json::Array{}),
                              json::Value(1.5), json::Value(std::string(2001, 'x'))}) {
        auto wrong = letter("otp", "ja");
        wrong.data["minutes"] = value;
        const auto refused = render(wrong);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().field == "data.minutes");
    }
}

TEST_CASE("codes are spelled out in the reader's language") {
    const auto ja = render(letter("security_notice", "ja"));
    CHECK(ja->text.find("操作: パスワードの変更\n日時: 2026年2月1日 08:30（日本時間）") !=
          std::string::npos);
    CHECK(ja->subject.find("ダイアリー") != std::string::npos);
    const auto en = render(letter("security_notice", "en"));
    CHECK(en->text.find("What: Your password was changed\nWhen: 2026-01-31 23:30 UTC") !=
          std::string::npos);
    auto own = letter("security_notice", "en");
    own.data["what"] = "A new device: Pixel 9";
    CHECK(render(own)->text.find("What: A new device: Pixel 9\n") != std::string::npos);
}
