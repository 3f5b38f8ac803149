#pragma once
// Text embeddings behind one port.

#include <memory>
#include <string>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"
#include "shared/config/groups.hpp"
#include "shared/http_client/http_client.hpp"

namespace millrace::providers::embedding {

struct Embedded {
    std::vector<std::vector<float>> vectors;  ///< one per text, in its order, all of one dimension
    std::string model;
    std::int64_t tokens = 0;
};

class Embedder {
 public:
    virtual ~Embedder() = default;
    /// Errors as of a language model. Many texts go in several calls of at most 64.
    virtual Task<Result<Embedded>> embed(std::vector<std::string> texts, std::string traceparent,
                                         Deadline deadline) = 0;
    [[nodiscard]] virtual const std::string& provider() const noexcept = 0;
    [[nodiscard]] virtual const std::string& model() const noexcept = 0;
};

struct OpenAiOptions {
    std::string provider = "openai";
    std::string base_url;  ///< up to and without "/embeddings"
    std::string key;
    std::string model;
    std::size_t dimensions = 0;  ///< checked when not 0
};
/// Any server that speaks OpenAI's embeddings: OpenAI, TEI, Ollama… `http` outlives the embedder.
std::unique_ptr<Embedder> make_openai(http_client::Client& http, OpenAiOptions options);

/// The configured embedder; null when there is none.
std::unique_ptr<Embedder> make_embedder(http_client::Client& http,
                                        const config::Embeddings& config);

}  // namespace millrace::providers::embedding
