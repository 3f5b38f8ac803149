// The index of vectors in memory against a plain comparison of all.

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <random>
#include <string>

#include "shared/domain/knowledge/vector_index.hpp"
#include "shared/providers/vector/vector.hpp"

using namespace millrace::domain::knowledge;
using millrace::base::FileId;
using millrace::providers::vector::normalized;

namespace {

FileId file(int number) {
    FileId id;
    id.uuid.bytes[15] = static_cast<std::uint8_t>(number);
    return id;
}

std::vector<float> random_vector(std::mt19937& random, std::size_t size) {
    std::normal_distribution<float> any;
    std::vector<float> out(size);
    for (auto& value : out) value = any(random);
    return normalized(std::move(out));
}

std::uint16_t half_of(float value) {
    return std::bit_cast<std::uint16_t>(static_cast<_Float16>(value));
}

/// As PostgreSQL sends it.
std::string wire(const std::vector<float>& vector) {
    std::string out;
    const auto put = [&](std::uint16_t value) {
        out += static_cast<char>(value >> 8);
        out += static_cast<char>(value);
    };
    put(static_cast<std::uint16_t>(vector.size()));
    put(0);
    for (const float value : vector) put(half_of(value));
    return out;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

void put(VectorIndex& index, int id, const std::vector<std::vector<float>>& vectors) {
    std::vector<std::string> wires;
    for (const auto& vector : vectors) wires.push_back(wire(vector));
    std::vector<VectorIndex::Chunk> chunks;
    for (std::size_t c = 0; c < wires.size(); ++c)
        chunks.push_back({static_cast<std::int32_t>(c), wires[c]});
    index.add_document(file(id), chunks);
}

}  // namespace

TEST_CASE("the nearest vectors are found, through adding, replacing, removing and filters") {
    std::mt19937 random(7);
    constexpr std::size_t k_dimensions = 75;  // no multiple of what is compared at once
    VectorIndex index(k_dimensions);
    std::map<int, std::vector<std::vector<float>>> corpus;
    std::uniform_int_distribution<int> any(0, 59), kind(0, 4), few(0, 4);
    for (int step = 0; step < 400; ++step) {
        const int id = any(random);
        if (kind(random) == 0) {
            const auto gone = file(id);
            index.remove_documents(std::span(&gone, 1));
            corpus.erase(id);
        } else {
            std::vector<std::vector<float>> vectors;
            for (int i = few(random); i > 0; --i)
                vectors.push_back(random_vector(random, k_dimensions));
            put(index, id, vectors);
            corpus[id] = std::move(vectors);
        }
        if (step % 20 != 0) continue;
        const bool odd = step % 40 == 0;
        const auto query = random_vector(random, k_dimensions);
        std::vector<double> expected;
        for (const auto& [number, vectors] : corpus) {
            for (const auto& vector : vectors) {
                if (!odd || number % 2 == 1) expected.push_back(cosine(query, vector));
            }
        }
        std::ranges::sort(expected, std::greater<>{});
        VectorIndex::FileFilter accept;
        if (odd) accept = [](const FileId& id) { return id.uuid.bytes[15] % 2 == 1; };
        const auto got = index.top_k(query, 10, accept);
        REQUIRE(got.size() == std::min<std::size_t>(10, expected.size()));
        for (std::size_t i = 0; i < got.size(); ++i)
            CHECK(got[i].score == doctest::Approx(expected[i]).epsilon(0.01));
    }
    std::size_t chunks = 0;
    for (const auto& [id, vectors] : corpus) chunks += vectors.size();
    CHECK(index.chunk_count() == chunks);
}

TEST_CASE("vectors of other dimensions are neither held nor compared") {
    std::mt19937 random(8);
    VectorIndex index(16);
    put(index, 1, {random_vector(random, 16), random_vector(random, 8)});
    CHECK(index.chunk_count() == 1);
    CHECK(index.top_k(random_vector(random, 8), 5).empty());
    CHECK(index.top_k(random_vector(random, 16), 5).size() == 1);
    CHECK(VectorIndex(16).top_k(random_vector(random, 16), 5).empty());
    std::string hostile(3, '\xff');
    const VectorIndex::Chunk chunk{0, hostile};
    index.add_document(file(2), std::span(&chunk, 1));
    CHECK(index.chunk_count() == 1);
}

TEST_CASE("every length is summed in full") {
    std::mt19937 random(9);
    for (std::size_t size = 0; size < 130; ++size) {
        const auto a = random_vector(random, size), b = random_vector(random, size);
        std::vector<std::uint16_t> halves;
        for (const float value : b) halves.push_back(half_of(value));
        CHECK(inner_product(a.data(), halves.data(), size) ==
              doctest::Approx(cosine(a, b)).epsilon(0.02));
    }
}

TEST_CASE("a vector without direction stays without") {
    CHECK(normalized({0, 0}) == std::vector<float>{0, 0});
    CHECK(normalized({3, 4})[1] == doctest::Approx(0.8));
    CHECK(millrace::providers::vector::to_text({0.5F, -1, 0}) == "[0.5,-1,0]");
}
