#include "workers/embedding/reindex.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "shared/json/writer.hpp"
#include "workers/embedding/vectors.hpp"

namespace millrace::workers::embedding {

namespace knowledge = domain::knowledge;
using knowledge::CheckQuestion;
using runtime::Attempt;
using runtime::Job;
using runtime::Outcome;

namespace {

constexpr std::size_t k_depth = 5;         // of recall, in chunks as an answer is made from
constexpr std::size_t k_batch = 64;        // questions per call of a provider
constexpr std::int64_t k_losses_told = 5;  // by name
constexpr auto k_commit_timeout = std::chrono::seconds(90);
constexpr double k_epsilon = 1e-9;

/// Of the documents that answer a question, the share among the `k_depth` best chunks.
double recall(const std::vector<knowledge::Hit>& hits, const CheckQuestion& question) {
    std::set<base::FileId> found;
    for (const auto& hit : hits)
        if (std::ranges::find(question.files, hit.file) != question.files.end())
            found.insert(hit.file);
    return static_cast<double>(found.size()) /
           static_cast<double>(std::min(question.files.size(), k_depth));
}

class Reindex {
 public:
    Reindex(const ReindexPorts& ports, Job job, Attempt& attempt)
        : ports_(ports),
          job_(std::move(job)),
          attempt_(attempt),
          searcher_(attempt.executor(), ports.app, ports.vectors),
          calls_(ports.embedder, attempt, job_.trace.traceparent()) {}

    Task<Result<Outcome>> run() {
        CO_TRY(const auto asked, knowledge::parse_reindex_requested(job_.input));
        const auto id = asked.index_generation;
        const auto deadline = attempt_.deadline();
        CO_TRY(const auto generation, co_await ports_.generations.find(job_.tenant, id, deadline));
        if (!generation || generation->status != "building") {
            co_return runtime::fail_for_good("REINDEX_OVER",
                                             "this index generation is not being built any more");
        }
        CO_TRY(const auto losses,
               co_await ports_.generations.losses(job_.tenant, id, k_losses_told, deadline));
        if (!losses.empty()) {
            co_return turned_down(id, "failed", "REINDEX_INCOMPLETE",
                                  fmt::format("documents that are searched now could not be "
                                              "embedded anew, so the index stays as it is: {}",
                                              fmt::join(losses, "; ")));
        }
        CO_TRY(const auto scores, co_await judge(id));
        if (scores && scores->after < scores->before - k_epsilon) {
            co_return turned_down(
                id, "rejected", "REINDEX_WORSE",
                fmt::format("recall@{} of the tenant's questions fell from {:.3f} to {:.3f}, so "
                            "the index stays as it is",
                            k_depth, scores->before, scores->after),
                scores);
        }
        json::Object result{{"index_generation", id.str()},
                            {"documents", generation->files_done},
                            {"unreadable", generation->files_failed}};
        if (scores) result["score_before"] = scores->before;
        if (scores) result["score_after"] = scores->after;
        auto outcome = runtime::succeed(json::dump(result), knowledge::go_live(id, scores));
        outcome.commit_timeout = k_commit_timeout;
        co_return outcome;
    }

 private:
    [[nodiscard]] static Outcome turned_down(base::Uuid id, std::string_view status,
                                             std::string_view code, const std::string& why,
                                             std::optional<knowledge::Scores> scores = {}) {
        return runtime::fail_for_good(code, why, knowledge::turn_down(id, status, why, scores));
    }

    /// None without questions.
    Task<Result<std::optional<knowledge::Scores>>> judge(base::Uuid generation) {
        CO_TRY(const auto questions,
               co_await ports_.generations.questions(job_.tenant, attempt_.deadline()));
        if (questions.empty()) co_return std::nullopt;
        knowledge::Scores total;
        for (std::size_t first = 0; first < questions.size(); first += k_batch) {
            const auto batch =
                std::span(questions).subspan(first, std::min(k_batch, questions.size() - first));
            CO_TRY(const auto vectors, co_await vectors_of(batch));
            for (std::size_t i = 0; i < batch.size(); ++i) {
                CO_TRY(const auto before, co_await score(batch[i], vectors[i], std::nullopt));
                CO_TRY(const auto after, co_await score(batch[i], vectors[i], generation));
                total.before += before;
                total.after += after;
            }
            attempt_.live().progress(json::dump({{"stage", "judging"},
                                                 {"done", first + batch.size()},
                                                 {"total", questions.size()}}));
        }
        const auto count = static_cast<double>(questions.size());
        co_return knowledge::Scores{total.before / count, total.after / count};
    }

    Task<Result<std::vector<std::vector<float>>>> vectors_of(std::span<const CheckQuestion> batch) {
        if (ports_.embedder == nullptr) co_return std::vector<std::vector<float>>(batch.size());
        std::vector<std::string> texts;
        for (const auto& one : batch) texts.push_back(one.question);
        co_return co_await calls_.embed(std::move(texts));
    }

    Task<Result<double>> score(const CheckQuestion& question, std::vector<float> vector,
                               std::optional<base::Uuid> generation) {
        CO_TRY(const auto found, co_await searcher_.search({.tenant = job_.tenant,
                                                            .question = question.question,
                                                            .vector = std::move(vector),
                                                            .limit = k_depth,
                                                            .index_generation = generation},
                                                           attempt_.deadline()));
        co_return recall(found.hits, question);
    }

    const ReindexPorts& ports_;
    const Job job_;
    Attempt& attempt_;
    knowledge::Searcher searcher_;  ///< its two indexes go with the attempt
    EmbeddingCalls calls_;
};

}  // namespace

runtime::Handler make_reindex_handler(ReindexPorts ports) {
    return runtime::handler_of<Reindex>(ports);
}

}  // namespace millrace::workers::embedding
