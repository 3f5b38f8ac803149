// millrace-ops search: the chunks that a question finds, ranked as the rag worker ranks them.

#include "shared/domain/knowledge/search.hpp"

#include <fmt/format.h>

#include "shared/base/utf8.hpp"
#include "shared/json/writer.hpp"
#include "shared/providers/embedding/embedding.hpp"
#include "workers/ops/tenant_api.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

struct Options {
    std::string question, tenant;
    std::vector<std::string> files;
    domain::knowledge::SearchFilter filter;
    std::size_t limit = 10;
};

Task<Result<std::vector<float>>> vector_of(Context& context, std::string question) {
    const auto config = context.embeddings();
    const auto http = http_client::make_client(context.executor(), {});
    const auto embedder = providers::embedding::make_embedder(*http, config);
    if (!embedder) co_return std::vector<float>{};
    std::vector<std::string> texts{std::move(question)};
    CO_TRY(auto embedded, co_await embedder->embed(std::move(texts), {}, Deadline::in(30s)));
    co_return std::move(embedded.vectors.front());
}

Task<Result<void>> search(Context& context, Options options) {
    for (const auto& text : options.files) {
        const auto id = base::Uuid::parse(text);
        if (!id) co_return fail(ErrorCode::invalid, "--file: " + text + " is not an id");
        options.filter.files.push_back({*id});
    }
    CO_TRY(const auto owner, co_await find_owner(context, options.tenant));
    CO_TRY(auto vector, co_await vector_of(context, options.question));
    const auto http = http_client::make_client(context.executor(), {});
    const auto vectors = providers::vector::make_store(*http, context.app(), context.vectors());
    domain::knowledge::Searcher searcher(context.executor(), context.app(), *vectors);
    CO_TRY(const auto found, co_await searcher.search({.tenant = owner.tenant,
                                                       .question = options.question,
                                                       .vector = std::move(vector),
                                                       .limit = options.limit,
                                                       .filter = std::move(options.filter)},
                                                      Deadline::in(60s)));
    json::Array out;
    for (std::size_t i = 0; i < found.hits.size(); ++i) {
        const auto& hit = found.hits[i];
        if (context.json()) {
            out.push_back(json::Object{{"rank", i + 1},
                                       {"score", hit.score},
                                       {"coverage", hit.coverage},
                                       {"file_id", hit.file.str()},
                                       {"file_name", hit.file_name},
                                       {"chunk_index", hit.chunk_index},
                                       {"page", hit.page_first},
                                       {"text", hit.text}});
            continue;
        }
        std::string line(base::utf8_prefix(hit.text, 240));
        std::ranges::replace(line, '\n', ' ');
        fmt::print("{:>2}. {:7.3f}  {} #{} (page {})\n    {}\n", i + 1, hit.score, hit.file_name,
                   hit.chunk_index, hit.page_first, line);
    }
    if (context.json())
        fmt::print("{}\n", json::dump(out));
    else if (found.hits.empty())
        fmt::print("nothing found\n");
    co_return Result<void>{};
}

}  // namespace

void add_search(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command =
        app.add_subcommand("search", "Show the chunks that a question finds, with their scores");
    command->add_option("question", options->question)->required();
    command->add_option("--tenant", options->tenant,
                        "a tenant's id or domain [the only one that has documents]");
    command->add_option("--limit,--top-k", options->limit, "at most this many")
        ->check(CLI::Range(1, 100));
    command->add_option("--file", options->files, "only these documents (ids)");
    command->add_option("--tag", options->filter.tags, "only documents with one of these tags");
    command->add_option("--type", options->filter.types, "only documents of these types")
        ->check(CLI::IsMember({"pdf", "txt", "docx"}));
    command->callback([&context, &run, options] {
        run = [&context, options] { return search(context, *options); };
    });
}

}  // namespace millrace::workers::ops
