#pragma once
// Language models behind one port: a conversation in, text out as it is produced.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"
#include "shared/http_client/http_client.hpp"

namespace millrace::providers::llm {

struct Message {
    std::string role;  ///< system | user | assistant
    std::string content;
};

struct Request {
    std::vector<Message> messages;
    double temperature = 0.7;
    int max_tokens = 500;
    std::string traceparent;  ///< W3C; passed on to the provider
    std::string model, key;   ///< in place of the configured ones, when not empty
};

struct Completion {
    std::string model;  ///< as the provider names what really answered
    std::int64_t tokens_in = 0, tokens_out = 0;
    bool estimated = false;  ///< the provider did not say: counted by estimate_tokens()
    std::string finish_reason;
};

using OnDelta = std::function<void(std::string_view text)>;

class Model {
 public:
    virtual ~Model() = default;
    /// Transient errors (`timeout`, `unavailable`, `rate_limited`): the next provider may do
    /// better, so may this one later. `invalid`, `unauthenticated`, `forbidden`: this provider will
    /// never take the request as it is.
    virtual Task<Result<Completion>> complete(Request request, OnDelta on_delta,
                                              Deadline deadline) = 0;
    [[nodiscard]] virtual const std::string& provider() const noexcept = 0;
    [[nodiscard]] virtual const std::string& model() const noexcept = 0;
};

struct OpenAiOptions {
    std::string provider = "openai";
    std::string base_url;  ///< up to and without "/chat/completions"
    std::string key;
    std::string model;
    std::chrono::milliseconds first_byte{20000}, stall{15000};
};
/// Any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, Ollama, LiteLLM…
/// `http` outlives the model.
std::unique_ptr<Model> make_openai(http_client::Client& http, OpenAiOptions options);

/// Half a token per CJK character, a quarter per other character, rounded up.
[[nodiscard]] std::int64_t estimate_tokens(std::string_view text);

}  // namespace millrace::providers::llm
