#include "tests/bench/search_corpus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "shared/providers/vector/vector.hpp"

namespace millrace::bench {

namespace {

constexpr std::size_t k_words = 20'000, k_words_per_chunk = 80, k_words_asked = 8;

std::vector<float> normals(std::mt19937& random, std::size_t count) {
    std::normal_distribution<float> any;
    std::vector<float> out(count);
    for (auto& value : out) value = any(random);
    return out;
}

std::mt19937 seeded(int tenant, int number, unsigned more) {
    std::seed_seq seed{static_cast<unsigned>(tenant), static_cast<unsigned>(number), more};
    return std::mt19937(seed);
}

}  // namespace

Corpus::Corpus(std::size_t dimensions) : dimensions_(dimensions) {
    std::mt19937 random(42);
    for (std::size_t t = 0; t < k_topics; ++t) topics_.push_back(normals(random, k_inner));
    turn_ = normals(random, dimensions * k_inner);
    std::uniform_int_distribution<std::size_t> length(2, 5), consonant(0, 13), vowel(0, 4);
    for (std::size_t w = 0; w < k_words; ++w) {
        std::string word;
        for (auto i = length(random); i > 0; --i) {
            word += "bdfgklmnprstvz"[consonant(random)];
            word += "aeiou"[vowel(random)];
        }
        words_.push_back(std::move(word));
        weights_.push_back(1.0 / static_cast<double>(w + 1));
    }
}

std::vector<float> Corpus::vector_of(std::mt19937& random, std::size_t topic,
                                     const std::vector<float>* near) const {
    auto inner = normals(random, k_inner);
    for (std::size_t i = 0; i < k_inner; ++i)
        inner[i] = near ? (*near)[i] + 0.3F * inner[i] : topics_[topic][i] + 0.7F * inner[i];
    std::vector<float> out(dimensions_);
    for (std::size_t d = 0; d < dimensions_; ++d) {
        for (std::size_t i = 0; i < k_inner; ++i) out[d] += turn_[d * k_inner + i] * inner[i];
    }
    return providers::vector::normalized(std::move(out));
}

Corpus::Chunk Corpus::chunk(int tenant, int number, unsigned noise) const {
    auto random = seeded(tenant, number, 0);
    std::discrete_distribution<std::size_t> word(weights_.begin(), weights_.end());
    Chunk out;
    for (std::size_t i = 0; i < k_words_per_chunk; ++i) out.text += words_[word(random)] + ' ';
    const auto topic = std::uniform_int_distribution<std::size_t>(0, k_topics - 1)(random);
    if (noise == 0) {
        out.vector = vector_of(random, topic, nullptr);
        return out;
    }
    auto inner = normals(random, k_inner);
    for (std::size_t i = 0; i < k_inner; ++i) inner[i] = topics_[topic][i] + 0.7F * inner[i];
    auto other = seeded(tenant, number, noise);
    out.vector = vector_of(other, topic, &inner);
    return out;
}

Corpus::Chunk Corpus::question(int tenant, int number) const {
    auto out = chunk(tenant, number, 1);
    std::vector<std::string> words;
    for (std::size_t at = 0, end = 0; (end = out.text.find(' ', at)) != std::string::npos;
         at = end + 1)
        words.push_back(out.text.substr(at, end - at));
    auto random = seeded(tenant, number, 2);
    std::ranges::shuffle(words, random);
    out.text.clear();
    for (std::size_t i = 0; i < k_words_asked; ++i) out.text += words[i] + ' ';
    return out;
}

base::TenantId tenant_id(int tenant) {
    return {base::named_uuid(fmt::format("bench tenant {}", tenant))};
}
base::FileId file_id(int tenant, int file) {
    return {base::named_uuid(fmt::format("bench file {} {}", tenant, file))};
}

}  // namespace millrace::bench
