// Text → sentences, chunks, terms.

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/chunker.hpp"
#include "shared/domain/knowledge/normalize.hpp"
#include "shared/domain/knowledge/sentences.hpp"
#include "shared/domain/knowledge/tokenizer.hpp"

using namespace millrace::domain::knowledge;
namespace base = millrace::base;

namespace {

std::vector<std::string> sentences(std::string_view text) {
    std::vector<std::string> out;
    for (const auto& s : split_sentences(text))
        out.emplace_back(text.substr(s.begin, s.end - s.begin));
    return out;
}
using Strings = std::vector<std::string>;

std::map<std::string, int> terms(std::string_view text) {
    std::map<std::string, int> out;
    for_each_term(fold(text), [&](std::string_view term) { ++out[std::string(term)]; });
    return out;
}

std::vector<Chunk> chunks(std::string text, ChunkOptions options = {}) {
    const Page page{1, std::move(text)};
    return split_chunks(std::span(&page, 1), options);
}

}  // namespace

TEST_CASE("sentences end where readers think they do") {
    CHECK(sentences("今日は晴れ。明日は雨！傘は要る？") ==
          Strings{"今日は晴れ。", "明日は雨！", "傘は要る？"});
    CHECK(sentences("彼は「行く。必ず。」と言った。帰った。") ==
          Strings{"彼は「行く。必ず。」と言った。", "帰った。"});
    CHECK(sentences("Dr. Smith paid $3.50. He left (at 5 p.m.) early.") ==
          Strings{"Dr. Smith paid $3.50.", "He left (at 5 p.m.) early."});
    CHECK(sentences("See v1.2.3 or a.b.com now! Why? \"Because.\" Fine.") ==
          Strings{"See v1.2.3 or a.b.com now!", "Why?", "\"Because.\"", "Fine."});
    CHECK(sentences("Title\n\nBody text.") == Strings{"Title", "Body text."});
    CHECK(sentences("   \n \n").empty());
    CHECK(sentences("").empty());
    const auto split = split_sentences("Opening hours\nWe are open.");
    REQUIRE(split.size() == 2);
    CHECK(split[0].heading);
    CHECK_FALSE(split[1].heading);
}

TEST_CASE("a line break inside a sentence does not end it, and is gone from the chunk") {
    const std::string wrapped =
        "使わなかった有給休暇は翌年に限り繰り越すことができますが、翌々年に繰り越すことはでき\nませ"
        "ん。次の文です。";
    CHECK(sentences(wrapped).size() == 2);
    CHECK(chunks(wrapped).front().text.contains("繰り越すことはできません。"));
    CHECK(
        chunks("The warranty covers repairs for two years from the\ndelivery date.").front().text ==
        "The warranty covers repairs for two years from the delivery date.");
}

TEST_CASE("hostile characters are not stored") {
    CHECK(clean_text("a\u200Bb\u202Ec\x01\x7F\r\nd") == "abc\nd");
    CHECK(clean_text(std::string("x\0y", 3)) == "xy");
    CHECK(base::is_valid_utf8(clean_text("\xFF\xC0\x80ok\xE3\x81")));
}

TEST_CASE("folding joins widths and case") {
    CHECK(fold("ＡＢＣ　ｶﾞｷﾞ Ｗi-Fi ①") == "abc ガギ wi-fi 1");
    const auto folded = fold_with_origin("ｶﾞx");
    REQUIRE(folded.text == "ガx");
    CHECK(folded.begin[0] == 0);
    CHECK(folded.end[0] == 6);
    CHECK(folded.begin[3] == 6);
}

TEST_CASE("terms: words for Latin, characters and pairs for CJK") {
    CHECK(terms("Espresso machines") ==
          std::map<std::string, int>{{"espresso", 1}, {stem("machines"), 1}});
    const auto found = terms("東京都");
    CHECK(found.at("東") == 1);
    CHECK(found.at("東京") == 1);
    CHECK(found.at("京都") == 1);
    CHECK(terms("KH-30型").contains("30"));
    CHECK(stem("booked") == stem("books"));
    CHECK(stem("policies") == stem("policy"));
    CHECK(terms("。、！ \n").empty());
}

TEST_CASE("stored terms survive the way to the database, and nothing else does") {
    const auto counted = count_chunk_terms("題名 title", "本文に本文と text text text");
    REQUIRE(counted.size() > 5);
    CHECK(std::ranges::is_sorted(counted, {}, &TermCount::term));
    const auto bytes = encode_terms(counted);
    CHECK(decode_terms(bytes).value() == counted);
    CHECK(decode_terms(encode_terms({})).value().empty());
    for (std::size_t cut = 0; cut < bytes.size(); ++cut)
        CHECK_FALSE(decode_terms(bytes.substr(0, cut)));
    CHECK_FALSE(decode_terms(bytes + "x"));
    auto other_version = bytes;
    other_version[0] = static_cast<char>(other_version[0] + 1);
    CHECK_FALSE(decode_terms(other_version));
    CHECK_FALSE(decode_terms(std::string("\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 11)));
}

TEST_CASE("chunks hold whole sentences, in order, with a small overlap and their pages") {
    std::vector<Page> pages;
    int number = 0;
    for (std::int32_t page = 1; page <= 3; ++page) {
        std::string text;
        for (int i = 0; i < 30; ++i)
            text += "第" + std::to_string(++number) +
                    "条の規定は、本人の申請がある場合に限り適用されるものとする。";
        pages.push_back({page, text});
    }
    const ChunkOptions options;
    const auto out = split_chunks(pages, options);
    REQUIRE(out.size() >= 4);
    int seen = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
        CHECK(out[i].index == static_cast<std::int32_t>(i));
        CHECK(base::utf8_length(out[i].text) <= options.hard_max + 2);
        CHECK(out[i].text.starts_with("第"));
        CHECK(out[i].text.ends_with("。"));
        CHECK(out[i].page_first <= out[i].page_last);
        while (out[i].text.contains("第" + std::to_string(seen + 1) + "条")) ++seen;
        if (i > 0) CHECK(out[i].page_first >= out[i - 1].page_first);
    }
    CHECK(seen == number);
    CHECK(out.back().page_last == 3);
}

TEST_CASE("a sentence without end is cut, and nothing of it is lost") {
    std::string endless;
    for (int i = 0; i < 4000; ++i) endless += "長";
    const auto out = chunks(endless);
    REQUIRE(out.size() >= 4);
    std::size_t all = 0;
    for (const auto& chunk : out) {
        CHECK(base::is_valid_utf8(chunk.text));
        CHECK(base::utf8_length(chunk.text) <= 900);
        all += base::utf8_length(chunk.text);
    }
    CHECK(all >= 4000);
    CHECK(chunks(" \n\u3000\n").empty());
    CHECK(chunks("一文だけ。").size() == 1);
}
