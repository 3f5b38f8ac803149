#pragma once
// What a language model is asked: the question over numbered passages, which are data and not
// instructions [engineering S14].

#include <span>
#include <string>
#include <vector>

#include "shared/domain/knowledge/answerer.hpp"
#include "shared/providers/llm/llm.hpp"

namespace millrace::workers::rag {

/// How many of the passages, from the first on, fit into the context that we pay for.
[[nodiscard]] std::size_t passages_that_fit(std::span<const domain::knowledge::Passage> passages);

[[nodiscard]] std::vector<providers::llm::Message> prompt(
    const std::string& question, std::span<const domain::knowledge::Passage> passages);

}  // namespace millrace::workers::rag
