// Letters as RFC 5322 bytes. That another parser reads the same out of them is
// tests/e2e/test_mail.py's.

#include <doctest/doctest.h>

#include <string_view>

#include "shared/base/utf8.hpp"
#include "shared/providers/mail/mime.hpp"

using namespace millrace;
using providers::mail::compose;
using providers::mail::Content;

namespace {

Content content() {
    return {.id = "0198c0de-0000-7000-8000-000000000001",
            .from = "Millrace <no-reply@example.com>",
            .to = "alice@example.org",
            .subject = "Your code",
            .text = "Hello.\n",
            .html = "<p>Hello.</p>\n",
            .locale = "en",
            .template_name = "otp",
            .date = base::WallTime(std::chrono::seconds(1'767'225'600))};
}

std::string_view head(std::string_view bytes) {
    return bytes.substr(0, bytes.find("\r\n\r\n"));
}

}  // namespace

TEST_CASE("a letter has the headers that it is given, and an envelope") {
    const auto message = compose(content());
    REQUIRE(message.has_value());
    CHECK(message->id == content().id);
    CHECK(message->from == "no-reply@example.com");
    CHECK(message->to == "alice@example.org");
    const std::string top = "\r\n" + std::string(head(message->bytes)) + "\r\n";
    for (const std::string_view line :
         {"From: Millrace <no-reply@example.com>", "To: alice@example.org", "Subject: Your code",
          "Date: Thu, 01 Jan 2026 00:00:00 +0000",
          "Message-Id: <0198c0de-0000-7000-8000-000000000001@example.com>", "MIME-Version: 1.0",
          "X-Millrace-Template: otp", "Content-Language: en", "Auto-Submitted: auto-generated"}) {
        CAPTURE(line);
        std::string wanted = "\r\n" + std::string(line) + "\r\n";
        CHECK(base::ascii_lower(top).find(base::ascii_lower(wanted)) != std::string::npos);
    }
}

TEST_CASE("whatever it says, it is 7 bit in lines of at most 998 bytes, with CRLF") {
    auto long_one = content();
    for (int i = 0; i < 400; ++i) {
        long_one.text += "長い文 ";
        long_one.html += "long words ";
        long_one.subject += "件名の続き ";
    }
    const auto message = compose(long_one);
    REQUIRE(message.has_value());
    std::string_view rest = message->bytes;
    while (!rest.empty()) {
        const auto end = rest.find('\n');
        REQUIRE(end != std::string_view::npos);
        REQUIRE(end > 0);
        CHECK(rest[end - 1] == '\r');
        CHECK(end <= 998);
        for (const char c : rest.substr(0, end - 1)) CHECK((c >= 0 && c != '\r'));
        rest.remove_prefix(end + 1);
    }
}

TEST_CASE("no value becomes a header") {
    struct Case {
        std::string Content::* member;
        std::string_view field;
    };
    for (const auto& [member, field] :
         {Case{&Content::subject, "subject"}, Case{&Content::from, "from"},
          Case{&Content::to, "to"}, Case{&Content::id, "id"}, Case{&Content::locale, "locale"},
          Case{&Content::template_name, "template"}}) {
        for (const std::string_view bad :
             {"\r\nBcc: eve@example.com", "\nBcc: eve@example.com", "\rBcc: x", "\t", "\x7F"}) {
            CAPTURE(field);
            auto hostile = content();
            hostile.*member += bad;
            const auto message = compose(hostile);
            REQUIRE_FALSE(message.has_value());
            CHECK(message.error().code == ErrorCode::invalid);
            CHECK(message.error().field == field);
        }
    }
    for (const std::string_view bad :
         {"", "alice", "@example.org", "alice@", "a@b@c.org", "a,b@example.org", "<a@example.org>",
          "Alice <a@example.org>", "a b@example.org", "ä@example.org"}) {
        CAPTURE(bad);
        auto hostile = content();
        hostile.to = bad;
        CHECK_FALSE(compose(hostile).has_value());
    }
    for (const std::string_view bad : {"", "Millrace", "a@example.com, b@example.com"}) {
        CAPTURE(bad);
        auto hostile = content();
        hostile.from = bad;
        CHECK_FALSE(compose(hostile).has_value());
    }
}
