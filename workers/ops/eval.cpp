// millrace-ops eval: how well a running system finds and answers, asked through the public API.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "workers/ops/tenant_api.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

constexpr int k_depth = 10;  // of nDCG and recall, in documents
constexpr int k_top_k = 20;  // chunks asked for: several may be of one document

struct Options {
    std::string questions, tenant, model;
    std::size_t parallel = 4;
};

struct Question {
    std::string text;
    std::vector<std::string> files;    ///< names of the relevant documents
    std::vector<std::string> answers;  ///< any of them; none: containment is not measured
    bool answerable = true;
};

/// {"question", "files": […], "answer": "…" or "answers": […], "answerable": false}; `relevant` is
/// another name of `files`.
Result<Question> parse_question(const std::string& line) {
    TRY(const auto document, json::parse(line));
    auto in = document.reader();
    Question out{.text = in.string("question", {1, 1000}), .files = {}, .answers = {}};
    const auto* files = in.has("files") ? "files" : "relevant";
    out.files = in.strings(files, 1000);
    if (in.has("answers")) out.answers = in.strings("answers", 100);
    if (auto answer = in.optional_string("answer")) out.answers.push_back(std::move(*answer));
    out.answerable = in.optional_boolean("answerable").value_or(true);
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<std::vector<Question>> read_questions(const std::string& path) {
    std::ifstream in(path);
    if (!in) return fail(ErrorCode::invalid, path + " cannot be read");
    std::vector<Question> out;
    std::size_t number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (line.empty()) continue;
        auto question = parse_question(line);
        if (!question)
            return fail(ErrorCode::invalid,
                        fmt::format("{}, line {}: {}", path, number, question.error().detail));
        out.push_back(std::move(*question));
    }
    if (out.empty()) return fail(ErrorCode::invalid, path + " holds no questions");
    return out;
}

/// Without white space: extraction may have wrapped a line inside the span.
std::string squeezed(std::string text) {
    std::erase_if(text, [](char c) { return c == ' ' || c == '\n' || c == '\t'; });
    return text;
}

struct Scores {
    std::size_t ranked = 0, spans = 0, contained = 0, answerable = 0, answered = 0,
                unanswerable = 0, refused = 0;
    double ndcg = 0, first = 0, recall = 0;
    std::vector<double> latency, inside;  ///< ms: as the client sees it, and in the worker

    void take_ranking(const std::vector<std::string>& found,
                      const std::vector<std::string>& relevant) {
        if (relevant.empty()) return;
        double gain = 0, ideal = 0;
        std::size_t hits = 0;
        for (std::size_t i = 0; i < found.size() && i < k_depth; ++i) {
            if (std::ranges::find(relevant, found[i]) == relevant.end()) continue;
            gain += 1 / std::log2(static_cast<double>(i) + 2);
            ++hits;
            if (i == 0) first += 1;
        }
        const auto possible = std::min<std::size_t>(relevant.size(), k_depth);
        for (std::size_t i = 0; i < possible; ++i)
            ideal += 1 / std::log2(static_cast<double>(i) + 2);
        ndcg += gain / ideal;
        recall += static_cast<double>(hits) / static_cast<double>(possible);
        ++ranked;
    }
};

class Evaluation {
 public:
    Evaluation(Context& context, TenantApi& api, std::vector<Question> questions, std::string model)
        : context_(context),
          api_(api),
          questions_(std::move(questions)),
          model_(std::move(model)) {}

    Task<Result<void>> run(std::size_t parallel) {
        async::TaskGroup group(
            context_.executor(),
            [](const std::string&, const std::string& what) { fmt::print(stderr, "{}\n", what); });
        for (std::size_t i = 0; i < parallel; ++i) group.spawn("eval", work());
        co_await group.join(Deadline::at(base::SteadyTime::max()));
        if (failure_) co_return std::unexpected(std::move(*failure_));
        print();
        co_return Result<void>{};
    }

 private:
    Task<void> work() {
        while (next_ < questions_.size() && !failure_) {
            const auto& question = questions_[next_++];
            auto asked = co_await ask(question);
            if (!asked && !failure_) failure_ = std::move(asked).error();
        }
    }

    Task<Result<void>> ask(const Question& question) {
        json::Object body{{"query", question.text}, {"top_k", k_top_k}};
        if (!model_.empty()) body["model"] = model_;
        const auto started = std::chrono::steady_clock::now();
        CO_TRY(const auto response,
               co_await api_.call("POST", "/api/v1/chats/rag", json::dump(body),
                                  {{"Content-Type", "application/json"}, {"Prefer", "wait=60"}},
                                  Deadline::in(120s)));
        if (response.status != 200)
            co_return fail(ErrorCode::timeout, "a question was not answered within 60 s");
        scores_.latency.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started)
                .count());
        CO_TRY(const auto document, json::parse(response.body));
        auto in = document.reader();
        const auto answer = in.string("answer");
        std::vector<std::string> files;
        bool cited = false;
        for (auto& source : in.objects("sources", k_top_k)) {
            auto name = source.string("file_name");
            cited |= source.optional_boolean("cited").value_or(false);
            if (std::ranges::find(files, name) == files.end()) files.push_back(std::move(name));
        }
        scores_.inside.push_back(
            static_cast<double>(in.object("metadata").integer("latency_ms", 0, 1'000'000)));
        if (auto error = in.error()) co_return std::unexpected(std::move(*error));
        scores_.take_ranking(files, question.files);
        ++(question.answerable ? scores_.answerable : scores_.unanswerable);
        if (question.answerable && cited) ++scores_.answered;
        if (!question.answerable && !cited) ++scores_.refused;
        if (!question.answers.empty() && question.answerable) {
            ++scores_.spans;
            const auto said = squeezed(answer);
            scores_.contained += std::ranges::any_of(
                question.answers, [&](const auto& span) { return said.contains(squeezed(span)); });
        }
        co_return Result<void>{};
    }

    static double percentile(std::vector<double>& values, double p) {
        std::ranges::sort(values);
        return values[std::min(values.size() - 1,
                               static_cast<std::size_t>(p * static_cast<double>(values.size())))];
    }
    static double share(double part, std::size_t whole) {
        return whole == 0 ? 0 : part / static_cast<double>(whole);
    }

    void print() {
        auto& s = scores_;
        const json::Object out{{"questions", questions_.size()},
                               {"ndcg@10", share(s.ndcg, s.ranked)},
                               {"r@1", share(s.first, s.ranked)},
                               {"r@10", share(s.recall, s.ranked)},
                               {"containment", share(static_cast<double>(s.contained), s.spans)},
                               {"answered", share(static_cast<double>(s.answered), s.answerable)},
                               {"refused", share(static_cast<double>(s.refused), s.unanswerable)},
                               {"unanswerable", s.unanswerable},
                               {"latency_ms",
                                {{"p50", percentile(s.latency, 0.5)},
                                 {"p95", percentile(s.latency, 0.95)},
                                 {"p99", percentile(s.latency, 0.99)}}},
                               {"worker_ms",
                                {{"p50", percentile(s.inside, 0.5)},
                                 {"p95", percentile(s.inside, 0.95)},
                                 {"p99", percentile(s.inside, 0.99)}}}};
        if (context_.json()) {
            fmt::print("{}\n", json::dump(out));
            return;
        }
        fmt::print("{} questions\n  nDCG@10 {:.4f}   R@1 {:.4f}   R@10 {:.4f}\n", questions_.size(),
                   share(s.ndcg, s.ranked), share(s.first, s.ranked), share(s.recall, s.ranked));
        if (s.spans > 0)
            fmt::print("  the answer holds the span in {} of {} ({:.1f} %)\n", s.contained, s.spans,
                       100 * share(static_cast<double>(s.contained), s.spans));
        fmt::print("  answered with a citation: {} of {} answerable ones", s.answered,
                   s.answerable);
        fmt::print("{}\n", s.unanswerable > 0 ? fmt::format("; refused: {} of {} others", s.refused,
                                                            s.unanswerable)
                                              : std::string());
        fmt::print(
            "  request to answer: p50 {:.1f} ms, p95 {:.1f} ms, p99 {:.1f} ms; in the worker: p50 "
            "{:.0f} ms, p99 {:.0f} ms\n",
            percentile(s.latency, 0.5), percentile(s.latency, 0.95), percentile(s.latency, 0.99),
            percentile(s.inside, 0.5), percentile(s.inside, 0.99));
    }

    Context& context_;
    TenantApi& api_;
    const std::vector<Question> questions_;
    const std::string model_;
    std::size_t next_ = 0;
    Scores scores_;
    std::optional<Error> failure_;
};

Task<Result<void>> eval(Context& context, Options options) {
    CO_TRY(auto questions, read_questions(options.questions));
    CO_TRY(const auto owner, co_await find_owner(context, options.tenant));
    CO_TRY(auto token, co_await sign_in(context, owner));
    TenantApi api(context, std::move(token));
    Evaluation evaluation(context, api, std::move(questions), options.model);
    co_return co_await evaluation.run(options.parallel);
}

}  // namespace

void add_eval(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = app.add_subcommand(
        "eval", "Ask a file of questions; print how well documents were found and answers given");
    command
        ->add_option(
            "--questions", options->questions,
            R"(JSON lines: {"question": "…", "files": ["name", …], "answer": "span, optional", "answerable": true})")
        ->required()
        ->check(CLI::ExistingFile);
    command->add_option("--tenant", options->tenant,
                        "a tenant's id or domain [the only one that has documents]");
    command->add_option("--model", options->model, "ask this model [the configured chain]");
    command->add_option("--parallel", options->parallel, "questions at once")
        ->check(CLI::Range(1, 64));
    command->callback([&context, &run, options] {
        run = [&context, options] { return eval(context, *options); };
    });
}

}  // namespace millrace::workers::ops
