// Contract §3.3: documents in, documents listed, documents gone.

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <boost/json/parse.hpp>
#include <charconv>

#include "edge/middleware/multipart.hpp"
#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/file_type.hpp"
#include "shared/domain/knowledge/normalize.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

using domain::knowledge::File;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using middleware::MultipartParser;
using server::Method;
using server::Response;

namespace {

constexpr std::uint64_t k_file_bytes_max = 100ULL << 20;
constexpr std::uint64_t k_body_bytes_max = 101ULL << 20;
constexpr std::size_t k_field_bytes_max = 8192;
constexpr std::size_t k_sniff_bytes = 4096;
constexpr auto k_write_timeout = std::chrono::seconds(5);
constexpr auto k_retry_pause = std::chrono::milliseconds(100);
constexpr auto k_live_timeout = std::chrono::milliseconds(250);
constexpr auto k_claim_stale = std::chrono::seconds(60);

/// The contract's row.
json::Object file_json(const File& file) {
    json::Object out{{"id", file.id.str()},
                     {"file_name", file.file_name},
                     {"file_type", file.file_type},
                     {"title", file.title},
                     {"status", file.status},
                     {"file_size", file.file_size},
                     {"created_at", base::rfc3339(file.created_at)}};
    if (file.reason) out["reason"] = *file.reason;
    return out;
}

Task<Result<Response>> list(Ports ports, Exchange& exchange) {
    domain::knowledge::FileFilter filter;
    CO_TRY(filter.skip, integer_param(exchange, "skip", 0, 0, 1'000'000'000));
    CO_TRY(filter.limit, integer_param(exchange, "limit", 100, 1, 1000));
    CO_TRY(filter.file_type, choice_param(exchange, "file_type", {"pdf", "txt", "docx"}));
    CO_TRY(filter.status,
           choice_param(exchange, "status", {"pending", "processing", "completed", "failed"}));
    filter.tag = exchange.request.query_param("tag");
    if (filter.tag && (filter.tag->size() > 1000 || filter.tag->find('\0') != std::string::npos)) {
        co_return fail(ErrorCode::invalid, "tag: must be at most 1000 bytes of text",
                       {.field = "tag"});
    }
    filter.search = exchange.request.query_param("search");
    if (filter.search &&
        (filter.search->size() > 1000 || filter.search->find('\0') != std::string::npos)) {
        co_return fail(ErrorCode::invalid, "search: must be at most 1000 bytes of text",
                       {.field = "search"});
    }
    CO_TRY(const auto files,
           co_await ports.files.list(exchange.who().tenant, std::move(filter), exchange.deadline));
    json::Array body;
    for (const auto& file : files) body.push_back(file_json(file));
    co_return middleware::json_response(200, json::dump(body));
}

/// What an upload's form holds, the file being in the object store already.
struct Form {
    std::string file_name;
    std::string type;
    std::optional<std::string> title, description, tags;
    std::optional<object_store::Ref> object;
};

/// Reads one upload's body part by part.
class UploadReader {
 public:
    UploadReader(Ports ports, server::BodyStream& body, std::string boundary, std::string key)
        : ports_(ports), body_(body), parser_(std::move(boundary)), key_(std::move(key)) {}

    Task<Result<Form>> read() {
        for (;;) {
            CO_TRY(const auto event, parser_.next());
            switch (event) {
                case MultipartParser::Event::more: {
                    CO_TRY(const auto bytes, co_await body_.read());
                    if (bytes.empty())
                        co_return fail(ErrorCode::invalid, "body: it ends before its last boundary",
                                       {.field = "body"});
                    parser_.feed(bytes);
                    break;
                }
                case MultipartParser::Event::part:
                    CO_TRY_VOID(co_await begin_part());
                    break;
                case MultipartParser::Event::data:
                    CO_TRY_VOID(co_await part_data());
                    break;
                case MultipartParser::Event::part_end:
                    CO_TRY_VOID(co_await end_part());
                    break;
                case MultipartParser::Event::end:
                    co_return co_await finish();
            }
        }
    }

 private:
    Task<Result<void>> begin_part() {
        field_.clear();
        if (parser_.head().name != "file") co_return Result<void>{};
        if (upload_ || form_.object)
            co_return fail(ErrorCode::invalid, "file: only one file at a time", {.field = "file"});
        if (!parser_.head().file_name)
            co_return fail(ErrorCode::invalid, "file: must be a file", {.field = "file"});
        form_.file_name = domain::knowledge::display_name(*parser_.head().file_name);
        CO_TRY(upload_, co_await ports_.objects.create(key_));
        co_return Result<void>{};
    }

    Task<Result<void>> part_data() {
        const auto bytes = parser_.data();
        if (parser_.head().name == "file") {
            size_ += bytes.size();
            if (size_ > k_file_bytes_max) {
                co_return fail(ErrorCode::too_large, "file: must be at most 100 MiB",
                               {.field = "file"});
            }
            if (head_.size() < k_sniff_bytes)
                head_.append(bytes.substr(0, k_sniff_bytes - head_.size()));
            co_return co_await upload_->write(bytes);
        }
        if (field_.size() + bytes.size() > k_field_bytes_max) {
            co_return fail(
                ErrorCode::invalid,
                fmt::format("{}: must be at most {} bytes", parser_.head().name, k_field_bytes_max),
                {.field = parser_.head().name});
        }
        field_ += bytes;
        co_return Result<void>{};
    }

    Task<Result<void>> end_part() {
        const auto& name = parser_.head().name;
        if (name == "file") {
            if (size_ == 0)
                co_return fail(ErrorCode::invalid, "file: must not be empty", {.field = "file"});
            CO_TRY(const auto type, domain::knowledge::detect(head_, form_.file_name));
            form_.type = domain::knowledge::to_string(type);
            CO_TRY(form_.object, co_await upload_->finish());
            upload_.reset();
            co_return Result<void>{};
        }
        if (name != "title" && name != "description" && name != "tags") co_return Result<void>{};
        if (!base::is_valid_utf8(field_) || field_.find('\0') != std::string::npos) {
            co_return fail(ErrorCode::invalid, fmt::format("{}: must be text in UTF-8", name),
                           {.field = name});
        }
        auto& into = name == "title"         ? form_.title
                     : name == "description" ? form_.description
                                             : form_.tags;
        auto text = domain::knowledge::clean_text(field_);
        if (!text.empty()) into = std::move(text);
        co_return Result<void>{};
    }

    Task<Result<Form>> finish() {
        if (!form_.object)
            co_return fail(ErrorCode::invalid, "file: is required", {.field = "file"});
        if (form_.title && base::utf8_length(*form_.title) > 255) {
            co_return fail(ErrorCode::invalid, "title: must be at most 255 characters",
                           {.field = "title"});
        }
        co_return std::move(form_);
    }

    Ports ports_;
    server::BodyStream& body_;
    MultipartParser parser_;
    std::string key_;
    std::unique_ptr<object_store::Upload> upload_;
    std::uint64_t size_ = 0;
    std::string head_, field_;
    Form form_;
};

/// Once it is used up; uploads that run side by side may go beyond it.
Task<Result<void>> check_storage(Ports ports, const Exchange& exchange) {
    const auto max = ports.deployment.storage_max;
    if (max == 0) co_return Result<void>{};
    CO_TRY(const auto taken,
           co_await ports.files.stored_bytes(exchange.who().tenant, exchange.deadline));
    if (taken < max) co_return Result<void>{};
    co_return fail(ErrorCode::too_large,
                   fmt::format("file: the documents take all of the {} MiB that they may: delete "
                               "some first",
                               max >> 20),
                   {.field = "file", .reason = "STORAGE_QUOTA_EXCEEDED"});
}

std::vector<std::string> split_tags(const std::optional<std::string>& text) {
    std::vector<std::string> tags;
    std::string_view rest = text ? std::string_view(*text) : std::string_view{};
    while (!rest.empty() && tags.size() < 50) {
        const auto comma = std::min(rest.find(','), rest.size());
        const auto tag = base::trim(rest.substr(0, comma));
        rest.remove_prefix(std::min(comma + 1, rest.size()));
        if (!tag.empty()) tags.emplace_back(tag);
    }
    return tags;
}

const postgres::Statement k_claim_key{"upload_claim_key", R"sql(
WITH mine AS (
    INSERT INTO idempotency (scope_hash, body_hash, job_id) VALUES ($1, $2, $3) ON CONFLICT (scope_hash) DO NOTHING RETURNING job_id
)
SELECT job_id, $2::bytea AS body_hash, now() FROM mine
UNION ALL SELECT job_id, body_hash, created_at FROM idempotency WHERE scope_hash = $1 LIMIT 1)sql"};

/// An upload's key is claimed once its body is known, for the job that it will make. The job's
/// existence says whether the first request came through; a claim without one goes stale and its
/// job id is taken over.
struct KeyClaim {
    base::JobId job;
    bool fresh = true;  ///< nobody has used the key for another job
    base::WallTime since{};
};

Task<Result<KeyClaim>> claim_key(Ports ports, Exchange& exchange, const Form& form,
                                 base::JobId job) {
    const auto canonical =
        fmt::format("{}\n{}\n{}\n{}\n{}", form.file_name, form.object->sha256,
                    form.title.value_or(""), form.description.value_or(""), form.tags.value_or(""));
    CO_TRY(const auto key, middleware::idempotency_key(exchange, canonical));
    if (!key) co_return KeyClaim{job};
    const auto bytes = [](const base::Digest& d) {
        return postgres::Bytes{{reinterpret_cast<const char*>(d.data()), d.size()}};
    };
    CO_TRY(const auto rows,
           co_await ports.pipeline.run(
               postgres::call(k_claim_key, bytes(key->scope), bytes(key->body), job),
               Deadline::in(k_write_timeout)));
    const auto hash = rows[0].get<std::string>(1);
    if (hash != bytes(key->body).data) co_return std::unexpected(domain::jobs::key_mismatch());
    const auto holder = rows[0].get<base::JobId>(0);
    co_return KeyClaim{holder, holder == job, rows[0].get<base::WallTime>(2)};
}

Response uploaded(Ports ports, const File& file) {
    auto body = file_json(file);
    body["status"] = "pending";  // as the first answer said
    body.erase("reason");
    auto response = middleware::json_response(201, json::dump(body));
    response.headers.emplace_back(
        "Link", fmt::format("<{}>; rel=\"status\"", ports.gate.status_url(file.job)));
    return response;
}

/// Tries again with the same ids: after a connection lost at COMMIT a repetition changes nothing.
/// The object goes only when it is certain that no row speaks of it.
Task<Result<void>> create_file(Ports ports, middleware::Principal who,
                               domain::knowledge::NewFile file, domain::jobs::NewJob job,
                               base::Uuid outbox) {
    const auto deadline = Deadline::in(2 * k_write_timeout);
    bool ambiguous = false;
    for (;;) {
        const auto created = co_await ports.files.create(who, file, job, outbox, deadline);
        if (created) co_return Result<void>{};
        ambiguous |= postgres::is_ambiguous(created.error());
        if (base::is_transient(created.error().code) && deadline.remaining() > k_retry_pause) {
            co_await async::delay(co_await asio::this_coro::executor, k_retry_pause);
            continue;
        }
        if (!ambiguous) (void)co_await ports.objects.remove(file.object.key);
        co_return std::unexpected(created.error());
    }
}

Task<Result<Response>> upload(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    CO_TRY_VOID(co_await take_user_rate(ports, exchange, "uploads", ports.deployment.upload_rate));
    CO_TRY_VOID(co_await check_storage(ports, exchange));
    const auto boundary = middleware::multipart_boundary(exchange.request.header("content-type"));
    if (!boundary) {
        co_return fail(ErrorCode::invalid,
                       "body: must be multipart/form-data with a part named 'file'",
                       {.field = "file", .reason = "UNSUPPORTED_MEDIA_TYPE"});
    }
    const auto& who = exchange.who();
    const auto id = base::FileId::make();
    const auto key = who.tenant.str() + "/" + id.str();
    UploadReader reader(ports, *exchange.request.stream, *boundary, key);
    auto read = co_await reader.read();
    if (!read) {  // the file may have come before what is wrong
        (void)co_await ports.objects.remove(key);
        co_return std::unexpected(std::move(read).error());
    }
    auto form = std::move(*read);

    auto claim = co_await claim_key(ports, exchange, form, base::JobId::make());
    if (!claim || !claim->fresh) {
        const auto first = claim ? co_await ports.files.find_by_job(who.tenant, claim->job,
                                                                    Deadline::in(k_write_timeout))
                                 : Result<std::optional<File>>(std::nullopt);
        const bool stale = claim && std::chrono::system_clock::now() - claim->since > k_claim_stale;
        if (!claim || !first || *first || !stale) {
            (void)co_await ports.objects.remove(
                form.object->key);  // not needed: the first request's stands
            if (!claim) co_return std::unexpected(claim.error());
            if (!first) co_return std::unexpected(first.error());
            if (*first) co_return uploaded(ports, **first);
            co_return std::unexpected(domain::jobs::key_in_progress());
        }
    }

    domain::knowledge::NewFile file{.id = id,
                                    .file_name = form.file_name,
                                    .file_type = form.type,
                                    .title = form.title.value_or(form.file_name),
                                    .description = form.description,
                                    .tags = split_tags(form.tags),
                                    .object = *form.object};
    domain::jobs::NewJob job{
        .id = claim->job,
        .tenant = who.tenant,
        .owner = who.user,
        .kind = ports.catalog.kind("knowledge.embed"),
        .order_key = {},
        .trace = exchange.trace,
        .input = domain::knowledge::to_json(
            {file.id, file.file_name, file.file_type, file.title, file.object})};
    const auto outbox = base::uuid_v7();
    CO_TRY_VOID(co_await create_file(ports, who, file, job, outbox));
    File shown{.id = file.id,
               .file_name = file.file_name,
               .file_type = file.file_type,
               .title = file.title,
               .status = "pending",
               .file_size = static_cast<std::int64_t>(file.object.size),
               .created_at = base::uuid_time(file.id.uuid),
               .updated_at = base::uuid_time(file.id.uuid),
               .description = file.description,
               .tags = file.tags,
               .job = job.id};
    std::vector<domain::jobs::NewJob> announced;
    announced.push_back(std::move(job));
    ports.publisher.publish({outbox, std::move(announced)});
    co_return uploaded(ports, shown);
}

std::unexpected<Error> no_file() {
    return fail(ErrorCode::not_found, "there is no such file");
}

/// The file of the path; `not_found` for one of another tenant too.
Task<Result<File>> own_file(Ports ports, Exchange& exchange) {
    const auto id = base::FileId::parse(exchange.request.params.at(0));
    if (!id) co_return no_file();
    CO_TRY(auto file, co_await ports.files.find(exchange.who().tenant, *id, exchange.deadline));
    if (!file) co_return no_file();
    co_return std::move(*file);
}

Task<Result<Response>> read(Ports ports, Exchange& exchange) {
    CO_TRY(const auto file, co_await own_file(ports, exchange));
    auto body = file_json(file);
    body["updated_at"] = base::rfc3339(file.updated_at);
    body["description"] = json::or_null(file.description);
    body["tags"] = json::Array(file.tags.begin(), file.tags.end());
    body["chunk_count"] = file.chunk_count;
    body["job_id"] = file.job.str();
    body["progress"] = nullptr;
    if (file.status == "processing") {
        CO_TRY(const auto job, co_await ports.jobs.reader.find(file.job, exchange.deadline));
        const auto live = job ? co_await ports.jobs.live.progress(job->id, job->attempt,
                                                                  Deadline::in(k_live_timeout))
                              : Result<std::optional<std::string>>(std::nullopt);
        if (live && *live) body["progress"] = boost::json::parse(**live);
    }
    co_return middleware::json_response(200, json::dump(body));
}

json::Object chunk_json(const domain::knowledge::StoredChunk& chunk) {
    return {{"chunk_index", chunk.index},
            {"page_first", chunk.page_first},
            {"page_last", chunk.page_last},
            {"text", chunk.text}};
}

Task<Result<Response>> list_chunks(Ports ports, Exchange& exchange) {
    CO_TRY(const auto skip, integer_param(exchange, "skip", 0, 0, 1'000'000'000));
    CO_TRY(const auto limit, integer_param(exchange, "limit", 50, 1, 200));
    const auto id = base::FileId::parse(exchange.request.params.at(0));
    if (!id) co_return no_file();
    CO_TRY(const auto chunks,
           co_await ports.files.chunks(exchange.who().tenant, *id, skip, limit, exchange.deadline));
    if (!chunks) co_return no_file();
    json::Array body;
    for (const auto& chunk : *chunks) body.push_back(chunk_json(chunk));
    co_return middleware::json_response(200, json::dump(body));
}

Task<Result<Response>> read_chunk(Ports ports, Exchange& exchange) {
    const auto id = base::FileId::parse(exchange.request.params.at(0));
    const auto text = exchange.request.params.at(1);
    std::int32_t index = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (!id || ec != std::errc{} || end != text.data() + text.size() || index < 0)
        co_return fail(ErrorCode::not_found, "there is no such passage");
    CO_TRY(const auto chunks,
           co_await ports.files.chunks(exchange.who().tenant, *id, index, 1, exchange.deadline));
    if (!chunks || chunks->empty() || chunks->front().index != index)
        co_return fail(ErrorCode::not_found, "there is no such passage");
    co_return middleware::json_response(200, json::dump(chunk_json(chunks->front())));
}

Task<Result<Response>> reindex(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    CO_TRY_VOID(co_await take_user_rate(ports, exchange, "uploads", ports.deployment.upload_rate));
    const auto id = base::FileId::parse(exchange.request.params.at(0));
    if (!id) co_return no_file();
    const auto& who = exchange.who();
    domain::jobs::NewJob job{.tenant = who.tenant,
                             .owner = who.user,
                             .kind = ports.catalog.kind("knowledge.embed"),
                             .lane = "bulk",
                             .order_key = {},
                             .trace = exchange.trace,
                             .input = {}};
    const auto outbox = base::uuid_v7();
    CO_TRY(auto accepted, co_await ports.files.reindex(who.tenant, *id, std::move(job), outbox,
                                                       exchange.deadline));
    if (!accepted) co_return no_file();
    const domain::jobs::Accepted shown{.id = accepted->id};
    std::vector<domain::jobs::NewJob> announced;
    announced.push_back(std::move(*accepted));
    ports.publisher.publish({outbox, std::move(announced)});
    co_return ports.gate.accepted_response(shown, domain::jobs::Status::queued, {});
}

Task<Result<Response>> remove(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(require_admin(exchange));
    const auto id = base::FileId::parse(exchange.request.params.at(0));
    if (!id) co_return no_file();
    CO_TRY(const auto object,
           co_await ports.files.remove(exchange.who().tenant, *id, exchange.deadline));
    if (!object) co_return no_file();
    (void)co_await ports.objects.remove(*object);  // an object without a row is swept
    co_return middleware::json_response(
        200, json::dump(json::Object{{"message", "ファイルが削除されました"}}));
}

}  // namespace

std::vector<Endpoint> contents_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get, "/api/v1/contents", "listContents", Auth::bearer, with(list)},
        {Method::post,
         "/api/v1/contents/upload",
         "uploadContent",
         Auth::bearer,
         with(upload),
         {.bytes_max = k_body_bytes_max, .stream = true}},
        {Method::get, "/api/v1/contents/{file_id}", "getContent", Auth::bearer, with(read)},
        {Method::get, "/api/v1/contents/{file_id}/chunks", "listChunks", Auth::bearer,
         with(list_chunks)},
        {Method::get, "/api/v1/contents/{file_id}/chunks/{chunk_index}", "getChunk", Auth::bearer,
         with(read_chunk)},
        {Method::post, "/api/v1/contents/{file_id}/reindex", "reindexContent", Auth::bearer,
         with(reindex)},
        {Method::del, "/api/v1/contents/{file_id}", "deleteContent", Auth::bearer, with(remove)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
