#pragma once
// What a language model is asked: the question over numbered passages, which are data and not
// instructions [engineering S14].

#include <span>
#include <string>
#include <vector>

#include "shared/domain/knowledge/answerer.hpp"
#include "shared/domain/knowledge/conversations.hpp"
#include "shared/providers/llm/llm.hpp"

namespace millrace::workers::rag {

/// How many of the passages, from the first on, fit into the context that we pay for.
[[nodiscard]] std::size_t passages_that_fit(std::span<const domain::knowledge::Passage> passages);

/// `before`: what was said in the conversation, oldest first; the latest of it that fits.
[[nodiscard]] std::vector<providers::llm::Message> prompt(
    const std::string& question, std::span<const domain::knowledge::Passage> passages,
    std::span<const domain::knowledge::Turn> before);

}  // namespace millrace::workers::rag
