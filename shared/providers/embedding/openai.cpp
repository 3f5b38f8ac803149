#include <algorithm>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "shared/providers/embedding/embedding.hpp"
#include "shared/providers/status.hpp"

namespace millrace::providers::embedding {

namespace {

constexpr std::size_t k_texts_per_call = 64;
constexpr std::size_t k_dimensions_max = 8192;

std::unexpected<Error> malformed(std::string_view why) {
    return fail(ErrorCode::unavailable, "the embeddings provider's answer is malformed",
                {.log = std::string(why)});
}

class OpenAi final : public Embedder {
 public:
    OpenAi(http_client::Client& http, OpenAiOptions options)
        : http_(http), options_(std::move(options)) {}

    Task<Result<Embedded>> embed(std::vector<std::string> texts, std::string traceparent,
                                 Deadline deadline) override {
        Embedded out{.vectors = {}, .model = options_.model};
        for (std::size_t at = 0; at < texts.size(); at += k_texts_per_call) {
            const auto count = std::min(k_texts_per_call, texts.size() - at);
            json::Array input;
            for (std::size_t i = at; i < at + count; ++i) input.emplace_back(texts[i]);
            http_client::Request request{
                .method = "POST",
                .url = options_.base_url + "/embeddings",
                .headers = {{"Content-Type", "application/json"}},
                .body = json::dump(json::Object{{"model", options_.model},
                                                {"input", std::move(input)},
                                                {"encoding_format", "float"}}),
                .profile = http_client::Profile::operator_configured};
            if (!options_.key.empty())
                request.headers.emplace_back("Authorization", "Bearer " + options_.key);
            if (!traceparent.empty()) request.headers.emplace_back("traceparent", traceparent);
            CO_TRY(const auto response, co_await http_.send(std::move(request), deadline));
            if (response.status != 200)
                co_return std::unexpected(status_error(response, options_.provider, response.body));
            CO_TRY_VOID(take(response.body, count, out));
        }
        co_return out;
    }

    [[nodiscard]] const std::string& provider() const noexcept override {
        return options_.provider;
    }
    [[nodiscard]] const std::string& model() const noexcept override { return options_.model; }

 private:
    Result<void> take(const std::string& body, std::size_t count, Embedded& out) const {
        const auto document = json::parse(body);
        if (!document) return malformed("not JSON");
        auto in = document->reader();
        std::vector<std::vector<float>> vectors(count);
        for (auto& item : in.objects("data", count)) {
            const auto index = static_cast<std::size_t>(
                item.integer("index", 0, static_cast<std::int64_t>(count) - 1));
            for (const auto value : item.numbers("embedding", k_dimensions_max))
                vectors.at(index).push_back(static_cast<float>(value));
        }
        if (auto model = in.optional_string("model")) out.model = std::move(*model);
        if (auto usage = in.optional_object("usage"))
            out.tokens += usage->optional_integer("total_tokens", 0, 1'000'000'000).value_or(0);
        if (auto error = in.error()) return malformed(error->detail);
        const auto dimensions =
            options_.dimensions > 0 ? options_.dimensions : vectors.front().size();
        const bool even = std::ranges::all_of(
            vectors, [dimensions](const auto& v) { return !v.empty() && v.size() == dimensions; });
        if (!even) return malformed("vectors are missing or of another dimension");
        std::ranges::move(vectors, std::back_inserter(out.vectors));
        return {};
    }

    http_client::Client& http_;
    OpenAiOptions options_;
};

}  // namespace

std::unique_ptr<Embedder> make_openai(http_client::Client& http, OpenAiOptions options) {
    return std::make_unique<OpenAi>(http, std::move(options));
}

std::unique_ptr<Embedder> make_embedder(http_client::Client& http,
                                        const config::Embeddings& config) {
    if (config.provider.url.empty()) return nullptr;
    return make_openai(http, {.base_url = config.provider.url,
                              .key = config.provider.key,
                              .model = config.provider.model,
                              .dimensions = static_cast<std::size_t>(config.dimensions)});
}

}  // namespace millrace::providers::embedding
