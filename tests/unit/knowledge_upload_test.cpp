// What is taken at the door, and the words of a question.

#include <doctest/doctest.h>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/chats.hpp"
#include "shared/domain/knowledge/file_type.hpp"
#include "shared/domain/knowledge/question.hpp"

using namespace millrace::domain::knowledge;
using millrace::ErrorCode;
namespace base = millrace::base;

TEST_CASE("extension and first bytes must agree") {
    CHECK(detect("%PDF-1.7\n", "a.pdf").value() == FileType::pdf);
    CHECK(detect("%PDF-1.7\n", "A.PDF").value() == FileType::pdf);
    CHECK(detect("PK\x03\x04" + std::string(26, '.') + "[Content_Types].xml", "a.docx").value() ==
          FileType::docx);
    CHECK(detect("plain words", "a.txt").value() == FileType::txt);
    CHECK(detect("日本語", "資料.txt").value() == FileType::txt);
    for (const auto& [bytes, name] : {std::pair{"plain", "a.pdf"},
                                      {"%PDF-1.7", "a.docx"},
                                      {"%PDF-1.7", "a.txt"},
                                      {"PK\x03\x04", "a.txt"},
                                      {"x", "a.exe"},
                                      {"x", "a"},
                                      {"x", ".txt.exe"},
                                      {"\x7F"
                                       "ELF",
                                       "a.txt"},
                                      {"x", ""}}) {
        CAPTURE(name);
        const auto refused = detect(bytes, name);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == ErrorCode::invalid);
        CHECK(refused.error().field.starts_with("file"));
    }
}

TEST_CASE("a client's file name is made fit to show") {
    CHECK(display_name("../../x.txt") == "x.txt");
    CHECK(display_name("C:\\Users\\me\\y.pdf") == "y.pdf");
    CHECK(display_name("a\x01\nb.txt").find('\n') == std::string::npos);
    CHECK(display_name("a\r\n\f\u2028\x7F.txt") == "a.txt");
    CHECK(display_name("invoice\u202Efdp.txt") == "invoicefdp.txt");
    CHECK(display_name("a\u200B\U000E0041.txt") == "a.txt");
    const auto lengthy = display_name(std::string(1000, 'a') + ".docx");
    CHECK(lengthy.size() <= k_file_name_bytes_max);
    CHECK(lengthy.ends_with(".docx"));
    const std::string wide = display_name([] {
        std::string s;
        for (int i = 0; i < 200; ++i) s += "資";
        return s + ".txt";
    }());
    CHECK(base::is_valid_utf8(wide));
    CHECK(wide.ends_with(".txt"));
    CHECK(base::is_valid_utf8(display_name("\xFF\xFE.txt")));
}

TEST_CASE("a question's body is decoded strictly") {
    millrace::domain::identity::Principal who{.tenant = base::TenantId::make(),
                                              .user = base::UserId::make()};
    const std::vector<std::string> models{"gpt-4", "local"};
    const auto good = decode_question(
        R"({"query":"質問内容","model":"gpt-4","top_k":5,"session_id":"uuid","temperature":0.7,"max_tokens":500,"more":1})",
        who, models);
    REQUIRE(good);
    CHECK(good->query == "質問内容");
    CHECK_FALSE(good->new_conversation);
    CHECK(decode_question(R"({"query":"x","session_id":"uuid"})", who, models)->conversation ==
          good->conversation);
    millrace::domain::identity::Principal other{.tenant = who.tenant, .user = base::UserId::make()};
    CHECK(decode_question(R"({"query":"x","session_id":"uuid"})", other, models)->conversation !=
          good->conversation);
    CHECK(decode_question(R"({"query":"x"})", who, models)->new_conversation);
    const auto again = parse_answer_requested(to_json(*good));
    REQUIRE(again);
    CHECK(again->conversation == good->conversation);
    for (const auto& [body, field] : {std::pair{R"({"query":""})", "query"},
                                      {R"({"query":5})", "query"},
                                      {R"({})", "query"},
                                      {R"({"query":"　 "})", "query"},
                                      {R"({"query":"x","top_k":21})", "top_k"},
                                      {R"({"query":"x","top_k":1.5})", "top_k"},
                                      {R"({"query":"x","model":"nope"})", "model"},
                                      {R"({"query":"x","temperature":-0.1})", "temperature"},
                                      {R"({"query":"x","max_tokens":"9"})", "max_tokens"}}) {
        const auto refused = decode_question(body, who, models);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().field == field);
        CHECK(refused.error().code == ErrorCode::invalid);
    }
}

TEST_CASE("a question is taken apart into what it is about") {
    const auto japanese = read_question("出張の宿泊費の上限はいくらですか？", {});
    CHECK(japanese.japanese);
    CHECK(japanese.asked == Asked::money);
    CHECK(std::ranges::any_of(japanese.words,
                              [](const auto& word) { return word.text.contains("宿泊"); }));
    CHECK(std::ranges::none_of(japanese.words,
                               [](const auto& word) { return word.text.contains("ですか"); }));
    const auto english = read_question("When does the warranty of the dishwasher end?", {});
    CHECK_FALSE(english.japanese);
    CHECK(english.asked == Asked::time);
    CHECK(std::ranges::none_of(
        english.words, [](const auto& word) { return word.text == "the" || word.text == "does"; }));
    CHECK(read_question("", {}).words.empty());
    CHECK(coverage(english,
                   match_words(english, MatchText("the dishwasher warranty ends in May"))) > 0.8);
    CHECK(coverage(english, match_words(english, MatchText("unrelated words"))) < 0.2);
}
