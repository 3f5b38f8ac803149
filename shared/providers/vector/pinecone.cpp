// Pinecone's data plane: POST /vectors/upsert, /vectors/delete, /query, at most 1,000 records and
// 2 MB each (docs.pinecone.io, API 2026-07). It is eventually consistent: what was written may not
// be found yet, what was removed may still be. So every query names the generations that are live,
// and what comes back is checked against them.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "shared/providers/status.hpp"
#include "shared/providers/vector/vector.hpp"

namespace millrace::providers::vector {

namespace {

using postgres::Statement;

// Before anything is sent, so that nothing is there that we do not know of.
const Statement k_note{"vectors_note", R"sql(
INSERT INTO external_vectors (tenant_id, file_id, generation, chunks) VALUES ($1, $2, $3, $4)
ON CONFLICT (file_id, generation)
DO UPDATE SET chunks = greatest(external_vectors.chunks, excluded.chunks), written_at = now())sql"};
const Statement k_noted{
    "vectors_noted", "SELECT chunks FROM external_vectors WHERE file_id = $1 AND generation = $2"};

constexpr std::size_t k_records_max = 1000, k_bytes_max = 1'900'000;
constexpr std::size_t k_generations_max = 1000;  // named in a filter; with more, more is asked for
constexpr std::size_t k_more = 4, k_top_k_max = 10'000;

std::string id_of(base::FileId file, std::int64_t generation, std::int32_t index) {
    return fmt::format("{}#{}#{}", file.str(), generation, index);
}

std::optional<Match> match_of(std::string_view id, double score) {
    const auto first = id.find('#'), second = id.find('#', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) return std::nullopt;
    const auto file = base::FileId::parse(id.substr(0, first));
    if (!file) return std::nullopt;
    Match out{.file = *file, .similarity = score};
    const auto* end = id.data() + id.size();
    const auto generation =
        std::from_chars(id.data() + first + 1, id.data() + second, out.generation);
    const auto index = std::from_chars(id.data() + second + 1, end, out.chunk_index);
    if (generation.ptr != id.data() + second || index.ptr != end) return std::nullopt;
    return out;
}

/// Says which setting is wrong where the status tells.
Error refused(const http_client::Response& response) {
    auto error = status_error(response, "pinecone", response.body);
    error.detail = "the vector store refused the request";
    if (response.status == 401 || response.status == 403)
        error.log = "MILLRACE_PINECONE_KEY is refused: " + error.log;
    else if (response.status == 404)
        error.log = "MILLRACE_PINECONE_URL is not the address of an index: " + error.log;
    else if (response.status == 400)
        error.log = "is the index made for the dimensions of the embedding model? " + error.log;
    return error;
}

class Pinecone final : public Store {
 public:
    Pinecone(http_client::Client& http, postgres::Database& app, PineconeOptions options)
        : http_(http), app_(app), options_(std::move(options)) {}

    Task<Result<void>> upsert(base::TenantId tenant, base::FileId file, std::int64_t generation,
                              std::vector<Record> records, Deadline deadline) override {
        std::int32_t chunks = 0;
        for (const auto& record : records) chunks = std::max(chunks, record.chunk_index + 1);
        CO_TRY_VOID(co_await postgres::in_tenant(
            app_, tenant, postgres::call(k_note, tenant, file, generation, chunks), deadline));
        std::string vectors;
        std::size_t count = 0;
        for (const auto& record : records) {
            auto one = fmt::format(
                R"({{"id":"{}","values":{},"metadata":{{"file_id":"{}","generation":{}}}}})",
                id_of(file, generation, record.chunk_index), to_text(record.values), file.str(),
                generation);
            if (count == k_records_max ||
                (count > 0 && vectors.size() + one.size() > k_bytes_max)) {
                CO_TRY_VOID(co_await send_vectors(tenant, std::exchange(vectors, {}), deadline));
                count = 0;
            }
            vectors += (count++ == 0 ? "" : ",") + one;
        }
        if (count == 0) co_return Result<void>{};
        co_return co_await send_vectors(tenant, std::move(vectors), deadline);
    }

    Task<Result<void>> remove(base::TenantId tenant, base::FileId file, std::int64_t generation,
                              Deadline deadline) override {
        CO_TRY(const auto noted,
               co_await postgres::in_tenant(app_, tenant, postgres::call(k_noted, file, generation),
                                            deadline));
        const auto chunks = noted.empty() ? 0 : noted[0].get<std::int32_t>(0);
        json::Array ids;
        for (std::int32_t index = 0; index < chunks; ++index) {
            ids.emplace_back(id_of(file, generation, index));
            if (ids.size() < k_records_max && index + 1 < chunks) continue;
            auto body = json::dump({{"ids", std::exchange(ids, {})}, {"namespace", tenant.str()}});
            const auto done = co_await post("/vectors/delete", std::move(body), deadline);
            // A namespace that was never written to is not there.
            if (!done && done.error().source != "http:404") co_return std::unexpected(done.error());
        }
        co_return Result<void>{};
    }

    Task<Result<std::optional<std::vector<Match>>>> query(base::TenantId tenant,
                                                          std::vector<float> vector,
                                                          std::size_t limit, Searched searched,
                                                          Deadline deadline) override {
        std::vector<Match> out;
        if (searched.files.empty()) co_return std::optional(std::move(out));
        const bool named = !searched.all || searched.files.size() <= k_generations_max;
        if (!named) {
            CO_TRY_VOID(co_await ask(tenant, vector, std::min(k_top_k_max, limit * k_more), "",
                                     searched, out, deadline));
        }
        std::vector<std::int64_t> generations;
        for (auto at = searched.files.begin(); named && at != searched.files.end();) {
            generations.push_back(at->second);
            if (++at != searched.files.end() && generations.size() < k_generations_max) continue;
            const auto filter = fmt::format(R"("filter":{{"generation":{{"$in":[{}]}}}},)",
                                            fmt::join(std::exchange(generations, {}), ","));
            CO_TRY_VOID(co_await ask(tenant, vector, limit, filter, searched, out, deadline));
        }
        std::ranges::sort(out, std::greater<>{}, &Match::similarity);
        if (out.size() > limit) out.resize(limit);
        co_return std::optional(std::move(out));
    }

    [[nodiscard]] bool external() const noexcept override { return true; }

 private:
    Task<Result<void>> send_vectors(base::TenantId tenant, std::string vectors, Deadline deadline) {
        CO_TRY_VOID(co_await post(
            "/vectors/upsert",
            fmt::format(R"({{"namespace":"{}","vectors":[{}]}})", tenant.str(), vectors),
            deadline));
        co_return Result<void>{};
    }

    /// Appends what is found and live.
    Task<Result<void>> ask(base::TenantId tenant, const std::vector<float>& vector,
                           std::size_t limit, std::string filter, const Searched& searched,
                           std::vector<Match>& out, Deadline deadline) {
        auto body = fmt::format(
            R"({{"namespace":"{}","topK":{},{}"includeValues":false,"includeMetadata":false,"vector":{}}})",
            tenant.str(), limit, filter, to_text(vector));
        CO_TRY(const auto answer, co_await post("/query", std::move(body), deadline));
        CO_TRY(const auto document, json::parse(answer));
        auto in = document.reader();
        for (auto& one : in.objects("matches", k_top_k_max)) {
            const auto id = one.string("id", {0, 512});
            const auto match = match_of(id, one.number("score", -1e9, 1e9));
            if (!match) continue;
            const auto live = searched.files.find(match->file);
            if (live != searched.files.end() && live->second == match->generation)
                out.push_back(*match);
        }
        if (in.error())
            co_return fail(ErrorCode::unavailable, "the vector store's answer is malformed",
                           {.log = "pinecone: " + in.error()->detail});
        co_return Result<void>{};
    }

    Task<Result<std::string>> post(std::string path, std::string body, Deadline deadline) {
        CO_TRY(auto response,
               co_await http_.send({.method = "POST",
                                    .url = options_.base_url + path,
                                    .headers = {{"Content-Type", "application/json"},
                                                {"Api-Key", options_.key},
                                                {"X-Pinecone-Api-Version", "2026-07"}},
                                    .body = std::move(body),
                                    .profile = http_client::Profile::operator_configured},
                                   deadline));
        if (response.status != 200) co_return std::unexpected(refused(response));
        co_return std::move(response.body);
    }

    http_client::Client& http_;
    postgres::Database& app_;
    PineconeOptions options_;
};

}  // namespace

std::unique_ptr<Store> make_pinecone(http_client::Client& http, postgres::Database& app,
                                     PineconeOptions options) {
    return std::make_unique<Pinecone>(http, app, std::move(options));
}

}  // namespace millrace::providers::vector
