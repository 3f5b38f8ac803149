#pragma once
// Counts durations in buckets of at most 0.8 % width, as HdrHistogram does: 128 linear buckets per
// power of two.

#include <bit>
#include <cstdint>
#include <vector>

namespace millrace::bench {

class Histogram {
 public:
    void add(std::uint64_t ns) {
        ++counts_[index_of(ns)];
        ++total_;
        if (ns > max_) max_ = ns;
    }

    /// The upper end of the bucket that holds the q-quantile, in nanoseconds; 0 when empty.
    [[nodiscard]] std::uint64_t quantile(double q) const {
        const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(total_) + 0.5);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            if (counts_[i] > 0 && seen >= wanted) return upper_end(i) < max_ ? upper_end(i) : max_;
        }
        return max_;
    }
    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
    [[nodiscard]] std::uint64_t max() const noexcept { return max_; }

 private:
    static constexpr int k_bits = 7;
    static constexpr std::uint64_t k_linear = 1U << k_bits;

    static std::size_t index_of(std::uint64_t ns) {
        if (ns < k_linear) return ns;
        const auto shift = static_cast<int>(std::bit_width(ns)) - 1 - k_bits;
        return static_cast<std::size_t>(shift + 1) * k_linear + ((ns >> shift) - k_linear);
    }
    static std::uint64_t upper_end(std::size_t index) {
        if (index < k_linear) return index;
        const auto shift = index / k_linear - 1;
        return ((index % k_linear + k_linear + 1) << shift) - 1;
    }

    std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(64 * k_linear);
    std::uint64_t total_ = 0, max_ = 0;
};

}  // namespace millrace::bench
