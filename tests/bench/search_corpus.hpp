#pragma once
// A made-up corpus that is the same in every run: documents of a hundred chunks, words after Zipf,
// vectors of topics. Like those of a language model, the vectors fill few of their dimensions: a
// point of 48 dimensions near one of 200 topics, turned into many dimensions.

#include <random>
#include <string>
#include <vector>

#include "shared/base/uuid.hpp"

namespace millrace::bench {

constexpr int k_chunks_per_file = 100, k_rare_chunks = 20;

class Corpus {
 public:
    explicit Corpus(std::size_t dimensions);

    struct Chunk {
        std::string text;
        std::vector<float> vector;  ///< of length 1
    };
    /// `noise` other than 0: a text and vector near that chunk's.
    [[nodiscard]] Chunk chunk(int tenant, int number, unsigned noise = 0) const;
    /// Eight of its words, and a vector near its own.
    [[nodiscard]] Chunk question(int tenant, int number) const;

 private:
    static constexpr std::size_t k_topics = 200, k_inner = 48;
    [[nodiscard]] std::vector<float> vector_of(std::mt19937& random, std::size_t topic,
                                               const std::vector<float>* near) const;

    std::size_t dimensions_;
    std::vector<std::vector<float>> topics_;
    std::vector<float> turn_;  ///< dimensions × k_inner
    std::vector<std::string> words_;
    std::vector<double> weights_;
};

[[nodiscard]] base::TenantId tenant_id(int tenant);
[[nodiscard]] base::FileId file_id(int tenant, int file);

}  // namespace millrace::bench
