#include "workers/embedding/handler.hpp"

#include <algorithm>

#include "shared/domain/billing/budgets.hpp"
#include "shared/domain/knowledge/chunker.hpp"
#include "shared/domain/knowledge/generations.hpp"
#include "shared/domain/knowledge/tokenizer.hpp"
#include "shared/json/writer.hpp"
#include "workers/embedding/vectors.hpp"

namespace millrace::workers::embedding {

namespace knowledge = domain::knowledge;
namespace vector = providers::vector;
using base::FileId;
using runtime::Attempt;
using runtime::Job;
using runtime::Outcome;

namespace {

constexpr std::size_t k_batch = 64;  // chunks per call of a provider and per staging transaction

/// The copy of the document that the sandbox reads; gone when the attempt ends, however it ends.
class Scratch {
 public:
    explicit Scratch(std::filesystem::path path) : path_(std::move(path)) {
        remove();
    }  // a crash may have left one
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { remove(); }
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
    void remove() const noexcept {
        std::error_code ignored;
        std::filesystem::remove(path_, ignored);
    }
    std::filesystem::path path_;
};

struct Chunked {
    std::vector<knowledge::StagedChunk> chunks;
    std::size_t pages = 0;
};

Chunked cut(const extract::Document& document, const std::string& title) {
    Chunked out{.chunks = {}, .pages = document.pages.size()};
    for (auto& chunk : knowledge::split_chunks(document.pages)) {
        auto terms = knowledge::encode_terms(knowledge::count_chunk_terms(title, chunk.text));
        out.chunks.push_back({chunk.index, chunk.page_first, chunk.page_last, std::move(chunk.text),
                              std::move(terms)});
    }
    return out;
}

/// What the chunks are indexed under: the title that its owner gave, else the document's own, else
/// its file name.
std::string title_of(const knowledge::DocumentUploaded& asked, const std::string& own) {
    if (asked.title != asked.file_name && !asked.title.empty()) return asked.title;
    return own.empty() ? std::filesystem::path(asked.file_name).stem().string() : own;
}

class Embedding {
 public:
    Embedding(const Ports& ports, Job job, Attempt& attempt)
        : ports_(ports),
          job_(std::move(job)),
          attempt_(attempt),
          calls_(ports.embedder, attempt, job_.trace.traceparent()) {}

    Task<Result<Outcome>> run() {
        CO_TRY(const auto asked, knowledge::parse_document_uploaded(job_.input));
        CO_TRY(auto outcome, co_await embed(asked));
        if (asked.index_generation)
            outcome.releases.push_back(knowledge::advance_generation(*asked.index_generation));
        co_return outcome;
    }

 private:
    Task<Result<Outcome>> embed(const knowledge::DocumentUploaded& asked) {
        progress("extracting", 0, 1);
        auto document = co_await text_of(asked);
        if (!document) {
            if (is_transient(document.error().code))
                co_return std::unexpected(std::move(document).error());
            co_return refuse(asked, document.error());
        }
        progress("chunking", 0, 1);
        const auto title = title_of(asked, document->title);
        auto cut_up = co_await async::offload(
            attempt_.executor(), ports_.pool,
            [document = std::move(*document), title] { return cut(document, title); });
        CO_TRY(const auto generation, co_await ports_.files.next_generation(attempt_.deadline()));
        const auto count = cut_up.chunks.size(), pages = cut_up.pages;
        for (std::size_t done = 0; done < count; done += k_batch) {
            const auto first = cut_up.chunks.begin() + static_cast<std::ptrdiff_t>(done);
            const auto size = std::min(k_batch, count - done);
            std::vector<knowledge::StagedChunk> batch(
                std::make_move_iterator(first),
                std::make_move_iterator(first + static_cast<std::ptrdiff_t>(size)));
            auto vectors = co_await vectors_of(batch);
            if (!vectors && vectors.error().reason == domain::billing::k_budget_exceeded)
                co_return refuse(asked, vectors.error());
            if (!vectors) co_return std::unexpected(std::move(vectors).error());
            if (job_.shadow) continue;  // nothing to compare in it, and nobody to remove it
            auto staged = co_await ports_.files.stage(job_.tenant, asked.file, generation,
                                                      std::move(batch), attempt_.deadline());
            if (staged && !vectors->empty())
                staged = co_await store(asked.file, generation, std::move(*vectors));
            if (!staged && staged.error().code == ErrorCode::not_found) {
                co_return runtime::fail_for_good(
                    "DOCUMENT_DELETED", "the document was deleted while it was being processed");
            }
            if (!staged) co_return std::unexpected(std::move(staged).error());
            progress("indexing", done + size, count);
        }
        const auto chunks = static_cast<std::int32_t>(count);
        co_return runtime::succeed(
            json::dump({{"file_id", asked.file.str()}, {"chunks", count}, {"pages", pages}}),
            asked.index_generation
                ? knowledge::stage_in_generation(*asked.index_generation, asked.file, generation,
                                                 chunks)
                : knowledge::publish_generation(job_.tenant, asked.file, generation, chunks));
    }

    void progress(std::string_view stage, std::size_t done, std::size_t total) {
        attempt_.live().progress(json::dump({{"stage", stage}, {"done", done}, {"total", total}}));
    }

    /// The document can never be read: its owner is told why, in the job and in the list of
    /// contents or of index generations.
    [[nodiscard]] static Outcome refuse(const knowledge::DocumentUploaded& asked,
                                        const Error& error) {
        auto shown = error;
        if (shown.reason.empty()) shown.reason = "UNREADABLE";
        if (asked.index_generation) return runtime::fail_for_good(shown);
        return runtime::fail_for_good(shown, knowledge::mark_failed(asked.file, error.detail));
    }

    Task<Result<extract::Document>> text_of(const knowledge::DocumentUploaded& asked) {
        const Scratch copy(ports_.scratch / (job_.id.str() + "-" + std::to_string(job_.attempt)));
        auto fetched = co_await ports_.objects.fetch(asked.object.key, copy.path());
        if (!fetched && fetched.error().code == ErrorCode::not_found) {
            co_return fail(ErrorCode::not_found,
                           "the document was deleted while it was being processed",
                           {.reason = "DOCUMENT_DELETED"});
        }
        if (!fetched) co_return std::unexpected(std::move(fetched).error());
        co_return co_await extract::extract(ports_.sandbox, ports_.programs, copy.path(),
                                            asked.file_type, attempt_.deadline());
    }

    /// None without a provider.
    Task<Result<std::vector<vector::Record>>> vectors_of(
        const std::vector<knowledge::StagedChunk>& batch) {
        std::vector<vector::Record> out;
        if (ports_.embedder == nullptr) co_return out;
        std::vector<std::string> texts;
        for (const auto& chunk : batch) texts.push_back(chunk.text);
        CO_TRY(auto vectors, co_await calls_.embed(std::move(texts)));
        for (std::size_t i = 0; i < batch.size(); ++i)
            out.push_back({batch[i].index, std::move(vectors[i])});
        co_return out;
    }

    Task<Result<void>> store(FileId file, std::int64_t generation,
                             std::vector<vector::Record> records) {
        auto done = co_await ports_.vectors.upsert(job_.tenant, file, generation,
                                                   std::move(records), attempt_.deadline());
        if (!done && done.error().code != ErrorCode::not_found)
            co_return std::unexpected(worth_retrying(std::move(done).error()));
        co_return done;
    }

    const Ports& ports_;
    const Job job_;
    Attempt& attempt_;
    EmbeddingCalls calls_;
};

}  // namespace

runtime::Handler make_embed_handler(Ports ports) {
    return runtime::handler_of<Embedding>(std::move(ports));
}

}  // namespace millrace::workers::embedding
