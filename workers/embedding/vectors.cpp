#include "workers/embedding/vectors.hpp"

#include "shared/providers/llm/llm.hpp"
#include "shared/providers/vector/vector.hpp"

namespace millrace::workers::embedding {

Task<Result<std::vector<std::vector<float>>>> EmbeddingCalls::embed(
    std::vector<std::string> texts) {
    std::int64_t tokens = 0;
    for (const auto& text : texts) tokens += providers::llm::estimate_tokens(text);
    CO_TRY_VOID(co_await attempt_.reserve(calls_, embedder_->model(), tokens, 0));
    const auto started = std::chrono::steady_clock::now();
    auto embedded = co_await embedder_->embed(std::move(texts), traceparent_, attempt_.deadline());
    CO_TRY_VOID(co_await attempt_.spend(
        {.call = calls_++,
         .purpose = "embed",
         .provider = embedder_->provider(),
         .model = embedded ? embedded->model : embedder_->model(),
         .outcome = embedded ? "ok" : std::string(to_string(embedded.error().code)),
         .tokens_in = embedded ? embedded->tokens : 0,
         .latency = std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now() - started)}));
    if (!embedded) co_return std::unexpected(worth_retrying(std::move(embedded).error()));
    for (auto& vector : embedded->vectors)
        vector = providers::vector::normalized(std::move(vector));
    co_return std::move(embedded->vectors);
}

Error worth_retrying(Error error) {
    if (!is_transient(error.code)) error.code = ErrorCode::unavailable;
    return error;
}

}  // namespace millrace::workers::embedding
