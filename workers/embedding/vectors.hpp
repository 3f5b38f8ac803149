#pragma once
// The calls of one attempt for vectors: paid for out of the tenant's budget, and recorded.

#include "shared/providers/embedding/embedding.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::embedding {

class EmbeddingCalls {
 public:
    /// `embedder` may be null as long as nothing is embedded. Both outlive the object.
    EmbeddingCalls(providers::embedding::Embedder* embedder, runtime::Attempt& attempt,
                   std::string traceparent)
        : embedder_(embedder), attempt_(attempt), traceparent_(std::move(traceparent)) {}

    /// One vector of length 1 per text, of one call. Every error of the provider is worth another
    /// attempt: only its configuration can be wrong, and mending that helps. A budget that does not
    /// hold the call is `rate_limited` with reason BUDGET_EXCEEDED.
    Task<Result<std::vector<std::vector<float>>>> embed(std::vector<std::string> texts);

 private:
    providers::embedding::Embedder* embedder_;
    runtime::Attempt& attempt_;
    std::string traceparent_;
    int calls_ = 0;
};

/// See EmbeddingCalls::embed.
[[nodiscard]] Error worth_retrying(Error error);

}  // namespace millrace::workers::embedding
