#pragma once
// knowledge.answer: retrieve, answer with citations, stream. Through the configured models in their
// order, or with the local extractive answerer.

#include <memory>
#include <vector>

#include "shared/domain/billing/provider_keys.hpp"
#include "shared/domain/knowledge/conversations.hpp"
#include "shared/domain/knowledge/search.hpp"
#include "shared/providers/embedding/embedding.hpp"
#include "shared/providers/llm/llm.hpp"
#include "shared/telemetry/trace.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::rag {

/// In the order in which they are tried. A null model is the local answerer.
using Chain = std::vector<std::unique_ptr<providers::llm::Model>>;

struct Ports {
    domain::knowledge::Searcher& searcher;
    const Chain& chain;                        ///< empty: the local answerer alone
    providers::embedding::Embedder* embedder;  ///< null: BM25 alone
    domain::billing::ProviderKeys& provider_keys;
    domain::knowledge::Conversations& conversations;
    telemetry::Tracer& tracer;
};

/// References in `ports` outlive the handler.
[[nodiscard]] runtime::Handler make_answer_handler(Ports ports);

}  // namespace millrace::workers::rag
