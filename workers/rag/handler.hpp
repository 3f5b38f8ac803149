#pragma once
// knowledge.answer: retrieve, answer with citations, stream. Through the configured models in their order, or with the local
// extractive answerer when there is none.

#include <memory>
#include <vector>

#include "shared/domain/knowledge/search.hpp"
#include "shared/providers/llm/llm.hpp"
#include "shared/telemetry/trace.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::rag {

struct Ports {
    domain::knowledge::Searcher& searcher;
    std::vector<std::unique_ptr<providers::llm::Model>>& chain;  ///< empty: the local answerer
    telemetry::Tracer& tracer;
};

/// References in `ports` outlive the handler.
[[nodiscard]] runtime::Handler make_answer_handler(Ports ports);

}  // namespace millrace::workers::rag
