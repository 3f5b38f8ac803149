// BM25 against a plain implementation of its definition, and rank fusion.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "shared/domain/knowledge/bm25.hpp"
#include "shared/domain/knowledge/fusion.hpp"

using namespace millrace::domain::knowledge;
using millrace::base::FileId;

namespace {

FileId file(int number) {
    FileId id;
    id.uuid.bytes[14] = static_cast<std::uint8_t>(number >> 8);
    id.uuid.bytes[15] = static_cast<std::uint8_t>(number);
    return id;
}
int number(const FileId& id) {
    return id.uuid.bytes[14] << 8 | id.uuid.bytes[15];
}

struct Corpus {
    std::map<int, std::vector<TermCounts>> files;

    /// Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), eq. 3.15, idf as in
    /// Lucene.
    std::vector<std::pair<double, std::pair<int, int>>> rank(const std::vector<QueryTerm>& query,
                                                             double k1, double b) const {
        double count = 0, length = 0;
        std::map<Term, double> with;
        for (const auto& [id, chunks] : files) {
            for (const auto& chunk : chunks) {
                ++count;
                for (const auto& term : chunk) {
                    length += term.count;
                    ++with[term.term];
                }
            }
        }
        std::vector<std::pair<double, std::pair<int, int>>> out;
        for (const auto& [id, chunks] : files) {
            for (std::size_t c = 0; c < chunks.size(); ++c) {
                double own = 0, score = 0;
                for (const auto& term : chunks[c]) own += term.count;
                for (const auto& term : chunks[c]) {
                    const auto asked = std::ranges::find(query, term.term, &QueryTerm::term);
                    if (asked == query.end()) continue;
                    const double idf =
                        std::log(1 + (count - with[term.term] + 0.5) / (with[term.term] + 0.5));
                    score += asked->weight * idf * term.count * (k1 + 1) /
                             (term.count + k1 * (1 - b + b * own / (length / count)));
                }
                if (score > 0) out.push_back({score, {id, static_cast<int>(c)}});
            }
        }
        std::ranges::sort(out, [](const auto& x, const auto& y) {
            return x.first != y.first ? x.first > y.first : x.second < y.second;
        });
        return out;
    }
};

TermCounts random_chunk(std::mt19937& random) {
    std::map<Term, std::uint32_t> counts;
    std::uniform_int_distribution<Term> term(1, 60);
    std::uniform_int_distribution<int> length(3, 40);
    for (int i = length(random); i > 0; --i) ++counts[term(random)];
    TermCounts out;
    for (const auto& [t, c] : counts) out.push_back({t, c});
    return out;
}

void put(Bm25Index& index, Corpus& corpus, int id, std::vector<TermCounts> chunks) {
    std::vector<Bm25Index::Chunk> added;
    for (std::size_t c = 0; c < chunks.size(); ++c)
        added.push_back({static_cast<std::int32_t>(c), chunks[c]});
    index.add_document(file(id), added);
    corpus.files[id] = std::move(chunks);
}

}  // namespace

TEST_CASE("the index ranks as the definition says, through adding, replacing and removing") {
    std::mt19937 random(42);
    Bm25Index index;
    Corpus corpus;
    std::uniform_int_distribution<int> any(0, 199), kind(0, 9), few(1, 4);
    for (int step = 0; step < 600; ++step) {
        const int id = any(random);
        if (kind(random) == 0) {
            index.remove_document(file(id));
            corpus.files.erase(id);
        } else {
            std::vector<TermCounts> chunks;
            for (int i = few(random); i > 0; --i) chunks.push_back(random_chunk(random));
            put(index, corpus, id, std::move(chunks));
        }
        if (step % 20 != 0) continue;
        std::vector<QueryTerm> query{{static_cast<Term>(1 + step % 60), 1.0},
                                     {static_cast<Term>(1 + (step * 7) % 61), 0.5},
                                     {999'999, 1.0}};
        if (query[0].term == query[1].term) query.pop_back();
        const auto expected = corpus.rank(query, Bm25Options{}.k1, Bm25Options{}.b);
        const auto got = index.top_k(query, 10);
        REQUIRE(got.size() == std::min<std::size_t>(10, expected.size()));
        for (std::size_t i = 0; i < got.size(); ++i) {
            // The constant factor k1 + 1 is no part of the order, and some leave it out.
            CHECK(got[i].score / got[0].score ==
                  doctest::Approx(expected[i].first / expected[0].first).epsilon(1e-4));
            CHECK(got[i].coverage <= 1.0001);
        }
    }
    std::size_t chunks = 0;
    for (const auto& [id, list] : corpus.files) chunks += list.size();
    CHECK(index.chunk_count() == chunks);
}

TEST_CASE("equal scores are in a stable order, filters are asked, nothing is found for nothing") {
    Bm25Index index;
    Corpus corpus;
    for (int id = 5; id > 0; --id) put(index, corpus, id, {TermCounts{{7, 1}}});
    const QueryTerm seven{7, 1};
    const auto all = index.top_k(std::span(&seven, 1), 10);
    REQUIRE(all.size() == 5);
    for (int i = 0; i < 5; ++i) CHECK(number(all[static_cast<std::size_t>(i)].file) == i + 1);
    const auto odd =
        index.top_k(std::span(&seven, 1), 10, [](const FileId& id) { return number(id) % 2 == 1; });
    CHECK(odd.size() == 3);
    const QueryTerm unknown{8, 1};
    CHECK(index.top_k(std::span(&unknown, 1), 10).empty());
    CHECK(index.top_k({}, 10).empty());
    CHECK(Bm25Index().top_k(std::span(&seven, 1), 10).empty());
    CHECK(index.chunks_with(7) == 5);
}

TEST_CASE("fusion prefers what both lists like") {
    const std::vector<Retrieved> words{
        {file(1), 0, 9, 0.9}, {file(2), 0, 8, 0.5}, {file(3), 0, 7, 0.4}};
    const std::vector<Retrieved> meaning{{file(3), 0, 0, 0}, {file(4), 0, 0, 0}};
    const std::vector<RankedList> both{{words, 1}, {meaning, 1}};
    const auto out = fuse(both, 3);
    REQUIRE(out.size() == 3);
    CHECK(number(out[0].file) == 3);
    CHECK(out[0].coverage == doctest::Approx(0.4));
    CHECK(out[0].score == doctest::Approx(1.0 / 63 + 1.0 / 61));
    const std::vector<RankedList> one{{words, 0.1}, {meaning, 1}};
    CHECK(number(fuse(one, 4)[0].file) == 3);
    CHECK(number(fuse(one, 4)[1].file) == 4);
}
