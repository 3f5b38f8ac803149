#include "workers/rag/handler.hpp"

#include <algorithm>
#include <set>

#include "shared/domain/billing/budgets.hpp"
#include "shared/domain/identity/widget_keys.hpp"
#include "shared/domain/knowledge/answerer.hpp"
#include "shared/domain/knowledge/chats.hpp"
#include "shared/domain/knowledge/citations.hpp"
#include "shared/json/writer.hpp"
#include "shared/telemetry/log.hpp"
#include "workers/rag/prompt.hpp"

namespace millrace::workers::rag {

namespace knowledge = domain::knowledge;
namespace llm = providers::llm;
using knowledge::Passage;
using runtime::Attempt;
using runtime::Job;
using runtime::Outcome;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::string_view k_local = "local";

std::chrono::milliseconds since(Clock::time_point started) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - started);
}

/// One question being answered.
class Answering {
 public:
    Answering(const Ports& ports, Job job, Attempt& attempt)
        : ports_(ports), job_(std::move(job)), attempt_(attempt) {}

    Task<Result<Outcome>> run() {
        CO_TRY(asked_, knowledge::parse_answer_requested(job_.input));
        CO_TRY(background_, co_await ports_.conversations.background(
                                {job_.tenant, job_.owner, asked_.conversation}, job_.origin_id,
                                attempt_.deadline()));
        if (!asked_.model) asked_.model = background_.llm_model;
        const auto question = knowledge::searched_question(asked_.query, background_.turns);
        auto vector = co_await embed(question);
        CO_TRY(auto found,
               co_await ports_.searcher.search({.tenant = job_.tenant,
                                                .question = question,
                                                .vector = std::move(vector),
                                                .limit = static_cast<std::size_t>(asked_.top_k),
                                                .filter = asked_.filter},
                                               attempt_.deadline()));
        hits_ = std::move(found.hits);
        for (const auto& hit : hits_) passages_.push_back({hit.title, hit.text});
        // What the local answerer needs to know of the index, which may not be held across a
        // suspension.
        const auto local = knowledge::answer_locally(
            question, passages_,
            {found.index->chunk_count(),
             [&](knowledge::Term term) { return found.index->chunks_with(term); }},
            {.tokens_max = static_cast<std::size_t>(asked_.max_tokens)});
        found.index.reset();
        if (auto answered = co_await answer(local); !answered) {
            if (answered.error().reason == domain::billing::k_budget_exceeded)
                co_return runtime::fail_for_good(answered.error());
            co_return std::unexpected(std::move(answered).error());
        }
        const auto sources = sources_json();
        co_return runtime::succeed(
            result(sources),
            knowledge::record_exchange(asked_, {.tenant = job_.tenant,
                                                .user = job_.owner,
                                                .job = job_.id,
                                                .asked_at = job_.accepted_at,
                                                .answer = answer_,
                                                .sources = json::dump(sources),
                                                .trace_id = job_.trace.trace_id_hex()}));
    }

 private:
    /// Empty without a provider, while it is away, and past the budget: words alone will do then.
    Task<std::vector<float>> embed(const std::string& question) {
        if (ports_.embedder == nullptr) co_return std::vector<float>{};
        const auto tokens = llm::estimate_tokens(question);
        if (!co_await attempt_.reserve(calls_, ports_.embedder->model(), tokens, 0))
            co_return std::vector<float>{};
        const auto started = Clock::now();
        auto span = ports_.tracer.start("embed question", job_.trace, k_client_span);
        std::vector<std::string> texts{question};
        const auto embedded = co_await ports_.embedder->embed(
            std::move(texts), span.context().traceparent(), attempt_.deadline());
        if (!embedded) span.fail(embedded.error().log);
        co_await spend({.purpose = "embed",
                        .provider = ports_.embedder->provider(),
                        .model = embedded ? embedded->model : ports_.embedder->model(),
                        .outcome = embedded ? "ok" : std::string(to_string(embedded.error().code)),
                        .tokens_in = embedded ? embedded->tokens : 0,
                        .latency = since(started)});
        co_return embedded ? embedded->vectors.front() : std::vector<float>{};
    }

    /// Through the chain, until one answers. What a model had said before it failed is void.
    Task<Result<void>> answer(const knowledge::LocalAnswer& local) {
        if (ports_.chain.empty() || hits_.empty()) co_return co_await say_locally(local);
        CO_TRY(own_, co_await ports_.provider_keys.credential(
                         job_.tenant, std::string(domain::billing::k_openai), attempt_.deadline()));
        std::optional<Error> failure;
        for (auto* model : order()) {
            if (model == nullptr) co_return co_await say_locally(local);
            auto done = co_await ask(*model);
            if (done || done.error().reason == domain::billing::k_budget_exceeded) co_return done;
            telemetry::log::warning("model failed",
                                    {{"provider", model->provider()}, {"why", done.error().log}});
            if (attempt_.live().said_anything())
                attempt_.live().restart("another model takes over");
            answer_.clear();
            cited_.clear();
            failure = std::move(done).error();
            if (attempt_.deadline().passed()) break;
        }
        // Whatever it was, it is not the question's fault: the kind's schedule decides how often we
        // try again.
        const bool refused =
            failure->code == ErrorCode::unauthenticated || failure->code == ErrorCode::forbidden;
        // A visitor of a widget hears nothing of keys.
        const bool visitor = job_.owner == domain::identity::visitors_of(job_.tenant);
        if (own_ && refused && !visitor) {
            co_return fail(ErrorCode::invalid,
                           "the provider refuses this tenant's API key: replace or delete it",
                           {.log = failure->log, .reason = "PROVIDER_KEY_REFUSED"});
        }
        if (!is_transient(failure->code)) failure->code = ErrorCode::unavailable;
        failure->detail = "no language model could answer at the moment";
        co_return std::unexpected(std::move(*failure));
    }

    /// The chain, with the model first that the request names, if one of the chain is called so. A
    /// tenant's own key goes to the first provider alone, and only the local answerer stands in for
    /// it: nobody else pays.
    [[nodiscard]] std::vector<llm::Model*> order() const {
        std::vector<llm::Model*> models;
        for (const auto& model : ports_.chain) {
            if (own_ && model && std::ranges::any_of(models, [](auto* m) { return m != nullptr; }))
                continue;
            models.push_back(model.get());
        }
        const auto named =
            std::ranges::find(models, asked_.model.value_or(""), [](const llm::Model* model) {
                return model ? std::string_view(model->model()) : k_local;
            });
        if (named != models.end()) std::rotate(models.begin(), named, named + 1);
        return models;
    }

    Task<Result<void>> say_locally(const knowledge::LocalAnswer& local) {
        const auto started = Clock::now();
        for (const auto& piece : local.pieces) {
            say(piece.text);
            if (!piece.quote.empty()) cite({piece.passage, piece.quote});
        }
        model_ = k_local;
        tokens_in_ = llm::estimate_tokens(asked_.query);
        tokens_out_ = llm::estimate_tokens(answer_);
        co_return co_await spend({.purpose = "answer",
                                  .provider = std::string(k_local),
                                  .model = model_,
                                  .outcome = "ok",
                                  .tokens_in = tokens_in_,
                                  .tokens_out = tokens_out_,
                                  .latency = since(started)});
    }

    Task<Result<void>> ask(llm::Model& model) {
        const auto passages =
            std::span<const Passage>(passages_).first(passages_that_fit(passages_));
        knowledge::CitationFilter filter(passages);
        const auto started = Clock::now();
        auto span = ports_.tracer.start("chat " + model.model(), job_.trace, k_client_span);
        span.set("gen_ai.provider.name", model.provider());
        llm::Request request{.messages = prompt(asked_.query, passages, background_.turns),
                             .temperature = asked_.temperature,
                             .max_tokens = asked_.max_tokens,
                             .traceparent = span.context().traceparent()};
        if (own_) {
            request.model = asked_.model.value_or(own_->model);
            request.key = own_->key;
        }
        std::int64_t tokens = 0;
        for (const auto& message : request.messages)
            tokens += llm::estimate_tokens(message.content);
        CO_TRY_VOID(co_await attempt_.reserve(calls_,
                                              request.model.empty() ? model.model() : request.model,
                                              tokens, asked_.max_tokens));
        auto done = co_await model.complete(
            std::move(request), [&](std::string_view delta) { pass(filter.push(delta)); },
            attempt_.deadline());
        if (done) pass(filter.finish());
        if (done && answer_.empty())
            done = fail(ErrorCode::unavailable, "the model said nothing",
                        {.log = model.provider() + ": an empty answer"});
        if (!done) span.fail(done.error().log);
        CO_TRY_VOID(
            co_await spend({.purpose = "answer",
                            .provider = model.provider(),
                            .model = done ? done->model : model.model(),
                            .outcome = done ? "ok" : std::string(to_string(done.error().code)),
                            .tokens_in = done ? done->tokens_in : 0,
                            .tokens_out = done ? done->tokens_out : llm::estimate_tokens(answer_),
                            .latency = since(started)}));
        if (!done) co_return std::unexpected(std::move(done).error());
        model_ = done->model;
        tokens_in_ = done->tokens_in;
        tokens_out_ = done->tokens_out;
        span.set("gen_ai.usage.output_tokens", tokens_out_);
        co_return Result<void>{};
    }

    void pass(const std::vector<knowledge::CitationFilter::Out>& checked) {
        for (const auto& out : checked) {
            say(out.text);
            for (const auto& citation : out.citations) cite(citation);
        }
    }

    void say(std::string_view text) {
        answer_ += text;
        attempt_.live().delta(text);
    }

    void cite(const knowledge::Citation& citation) {
        const auto& hit = hits_[citation.passage];
        cited_.insert(citation.passage);
        attempt_.live().citation(json::dump({{"number", citation.passage + 1},
                                             {"file_id", hit.file.str()},
                                             {"file_name", hit.file_name},
                                             {"chunk_index", hit.chunk_index},
                                             {"page", hit.page_first},
                                             {"quote", citation.quote}}));
    }

    Task<Result<void>> spend(runtime::Spend spend) {
        spend.call = calls_++;
        co_return co_await attempt_.spend(std::move(spend));
    }

    [[nodiscard]] json::Array sources_json() const {
        json::Array sources;
        for (std::size_t i = 0; i < hits_.size(); ++i) {
            const auto& hit = hits_[i];
            json::Object source{{"file_id", hit.file.str()},
                                {"file_name", hit.file_name},
                                {"chunk_index", hit.chunk_index},
                                {"chunk_text", hit.text},
                                {"page", hit.page_first}};
            if (cited_.contains(i)) source["cited"] = true;
            sources.push_back(std::move(source));
        }
        return sources;
    }

    /// The contract's response body (§3.2).
    [[nodiscard]] std::string result(json::Array sources) const {
        return json::dump({{"answer", answer_},
                           {"sources", std::move(sources)},
                           {"conversation_id", asked_.conversation.str()},
                           {"message_id", (job_.shadow ? job_.origin_id : job_.id).str()},
                           {"metadata",
                            {{"model", model_},
                             {"tokens_in", tokens_in_},
                             {"tokens_out", tokens_out_},
                             {"latency_ms", since(started_).count()}}}});
    }

    static constexpr int k_client_span = 3;

    const Ports& ports_;
    const Job job_;
    Attempt& attempt_;
    const Clock::time_point started_ = Clock::now();
    knowledge::AnswerRequested asked_;
    std::vector<knowledge::Hit> hits_;
    std::vector<Passage> passages_;  // views into hits_
    knowledge::Background background_;
    std::optional<domain::billing::ProviderCredential> own_;  ///< the tenant's
    std::string answer_, model_;
    std::set<std::size_t> cited_;
    std::int64_t tokens_in_ = 0, tokens_out_ = 0;
    int calls_ = 0;
};

}  // namespace

runtime::Handler make_answer_handler(Ports ports) {
    return runtime::handler_of<Answering>(ports);
}

}  // namespace millrace::workers::rag
