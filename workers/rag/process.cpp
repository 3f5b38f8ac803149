#include "workers/rag/process.hpp"

#include "workers/rag/handler.hpp"

namespace millrace::workers::rag {

namespace {

Chain make_chain(http_client::Client& http, const config::Models& models) {
    Chain chain;
    for (const auto& provider : models.chain) {
        chain.push_back(provider.url == config::k_local_model
                            ? nullptr
                            : providers::llm::make_openai(http, {.base_url = provider.url,
                                                                 .key = provider.key,
                                                                 .model = provider.model,
                                                                 .first_byte = models.first_byte,
                                                                 .stall = models.stall}));
    }
    return chain;
}

}  // namespace

Config Config::read(config::Loader& in) {
    return {.worker = runtime::Config::read(in, "rag"),
            .models = config::Models::read(in),
            .embeddings = config::Embeddings::read(in),
            .secrets = config::Secrets::read(in),
            .vectors = config::Vectors::read(in)};
}

Task<Result<void>> run(service::Service& service, const Config& config) {
    auto http = http_client::make_client(service.executor(), {});
    const auto chain = make_chain(*http, config.models);
    const auto embedder = providers::embedding::make_embedder(*http, config.embeddings);
    std::unique_ptr<providers::vector::Store> vectors;
    std::optional<domain::knowledge::Searcher> searcher;
    std::optional<domain::billing::ProviderKeys> provider_keys;
    std::optional<domain::knowledge::Conversations> conversations;
    co_return co_await runtime::run_worker(
        service, config.worker, "rag",
        [&](runtime::Resources resources) -> Result<runtime::Handlers> {
            vectors = providers::vector::make_store(*http, resources.app, config.vectors);
            searcher.emplace(resources.executor, resources.app, *vectors);
            provider_keys.emplace(resources.app, config.secrets.all());
            conversations.emplace(resources.app);
            return runtime::Handlers{
                {"knowledge.answer", make_answer_handler({.searcher = *searcher,
                                                          .chain = chain,
                                                          .embedder = embedder.get(),
                                                          .provider_keys = *provider_keys,
                                                          .conversations = *conversations,
                                                          .tracer = service.tracer()})}};
        });
}

}  // namespace millrace::workers::rag
