#pragma once
// Text → hashed terms for BM25. Runs of CJK characters give their characters and character bigrams,
// everything else gives words (English words lightly stemmed). Pure functions, any thread. Changing
// what a term is makes stored terms stale: raise k_terms_version and re-index.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/result.hpp"

namespace millrace::domain::knowledge {

inline constexpr std::uint8_t k_terms_version = 1;

/// Hash of a term's bytes. 32 bits: a tenant with a million distinct terms shares about 200 of them
/// with another term, which costs no measurable rank and halves what is stored.
using Term = std::uint32_t;
[[nodiscard]] Term hash_term(std::string_view bytes) noexcept;

struct TermCount {
    Term term = 0;
    std::uint32_t count = 0;
    bool operator==(const TermCount&) const = default;
};
struct QueryTerm {
    Term term = 0;
    double weight = 1;
};
/// Ascending by term, no term twice, no count of zero.
using TermCounts = std::vector<TermCount>;

/// The stem under which an English word is indexed (plural, -ed, -ing). `word` is folded.
[[nodiscard]] std::string stem(std::string_view word);

/// Calls `take(bytes)` for every term of folded text, in order.
void for_each_term(std::string_view folded, const std::function<void(std::string_view)>& take);

[[nodiscard]] TermCounts count_terms(std::string_view text);
/// Terms of a chunk; the title of its document is indexed with every chunk.
[[nodiscard]] TermCounts count_chunk_terms(std::string_view title, std::string_view text);

/// Terms of a question, each once.
[[nodiscard]] std::vector<QueryTerm> query_terms(std::string_view question);

/// Compact bytes for a database column: version, number of terms, then per term a varint of its
/// distance from the one before with a flag for count > 1, and the count where flagged. About 4
/// bytes per term.
[[nodiscard]] std::string encode_terms(const TermCounts& terms);
/// Refuses (`invalid`) what encode_terms cannot have written.
[[nodiscard]] Result<TermCounts> decode_terms(std::string_view bytes);

}  // namespace millrace::domain::knowledge
