#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "shared/async/task_group.hpp"
#include "shared/base/crypto.hpp"
#include "shared/base/failpoint.hpp"
#include "shared/base/fd.hpp"
#include "shared/base/utf8.hpp"
#include "shared/providers/objects/s3_answers.hpp"
#include "shared/providers/objects/s3_bucket.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::providers::objects {

namespace fs = std::filesystem;
using object_store::check_key;
using object_store::Listed;
using object_store::Ref;

namespace {

constexpr std::size_t k_page = 1000;            // the most that a service lists at once
constexpr std::size_t k_fetch_bytes = 8 << 20;  // of one ranged read
constexpr auto k_close_max = std::chrono::seconds(5);

Fields of_upload(const std::string& id) {
    return {{"uploadId", id}};
}

/// The bytes of one call, and what they do to the digest of the whole.
struct Part {
    std::string bytes, hash;
};
Part hashed(base::Sha256& whole, std::string bytes) {
    whole.update(bytes);
    auto hash = base::hex(base::sha256(bytes));
    return {std::move(bytes), std::move(hash)};
}

/// A file that is gone again unless all of it was written.
class Arriving {
 public:
    explicit Arriving(fs::path path)
        : path_(std::move(path)),
          file_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640)),
          error_(file_.get() < 0 ? errno : 0) {}
    Arriving(const Arriving&) = delete;
    Arriving& operator=(const Arriving&) = delete;
    ~Arriving() {
        if (!whole_ && file_.get() >= 0) ::unlink(path_.c_str());
    }

    Result<void> append(std::string_view bytes) {
        while (error_ == 0 && !bytes.empty()) {
            const auto written = ::write(file_.get(), bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0)
                error_ = errno;
            else
                bytes.remove_prefix(static_cast<std::size_t>(written));
        }
        if (error_ == 0) return {};
        return store_away(fmt::format("cannot write {}: {}", path_.string(),
                                      std::generic_category().message(error_)),
                          fmt::format("errno:{}", error_));
    }
    void keep() { whole_ = true; }

 private:
    fs::path path_;
    base::Fd file_;
    int error_;
    bool whole_ = false;
};

/// The size of the whole in "bytes 0-99/12345".
std::optional<std::uint64_t> whole_size(const http_client::Response& response) {
    const auto range = response.header("content-range");
    const auto slash = range.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    std::uint64_t size = 0;
    const auto* end = range.data() + range.size();
    if (std::from_chars(range.data() + slash + 1, end, size).ptr != end) return std::nullopt;
    return size;
}

std::string completion(const std::vector<std::string>& tags) {
    std::string out = "<CompleteMultipartUpload>";
    for (std::size_t i = 0; i < tags.size(); ++i)
        out += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", i + 1,
                           base::html_escape(tags[i]));
    return out + "</CompleteMultipartUpload>";
}

/// Ends what was cut. Shared by the store, which joins it, and the uploads, of which one may be cut
/// after that.
struct Abandoned {
    explicit Abandoned(std::shared_ptr<Bucket> of)
        : bucket(std::move(of)), tasks(bucket->executor(), report) {}

    std::shared_ptr<Bucket> bucket;
    async::TaskGroup tasks;
    bool closed = false;

    static void report(const std::string& name, const std::string& what) {
        telemetry::log::error("a task died", {{"task", name}, {"what", what}});
    }
    static Task<void> abort(std::shared_ptr<Bucket> bucket, std::string key, std::string id) {
        const auto answer = co_await bucket->send(
            {.method = "DELETE", .key = key, .query = of_upload(id), .headers = {}});
        if (answer && (answer->status == 204 || answer->status == 404)) co_return;
        telemetry::log::warning(
            "a cut upload is left to the sweep",
            {{"cause", answer ? fmt::format("status {}", answer->status) : answer.error().log}});
    }
    void add(std::string key, std::string id) {
        if (!closed) tasks.spawn("abort an upload", abort(bucket, std::move(key), std::move(id)));
    }
};

class S3Upload final : public object_store::Upload {
 public:
    S3Upload(std::shared_ptr<Bucket> bucket, async::Pool& pool,
             std::shared_ptr<Abandoned> abandoned, std::string key)
        : bucket_(std::move(bucket)),
          pool_(pool),
          abandoned_(std::move(abandoned)),
          key_(std::move(key)) {}
    S3Upload(const S3Upload&) = delete;
    S3Upload& operator=(const S3Upload&) = delete;
    ~S3Upload() override {
        if (!id_.empty() && !finished_) abandoned_->add(key_, id_);
    }

    /// A part goes when a byte comes that it has no room for: the last one is never empty.
    Task<Result<void>> write(std::string_view bytes) override {
        const auto room = bucket_->options().part_bytes;
        size_ += bytes.size();
        while (!bytes.empty()) {
            if (buffer_.size() == room) CO_TRY_VOID(co_await send_part());
            const auto piece = bytes.substr(0, room - buffer_.size());
            buffer_ += piece;
            bytes.remove_prefix(piece.size());
        }
        co_return Result<void>{};
    }

    Task<Result<Ref>> finish() override {
        if (id_.empty()) {
            CO_TRY_VOID(co_await put_whole());
        } else {
            CO_TRY_VOID(co_await send_part());
            CO_TRY_VOID(co_await complete());
        }
        finished_ = true;
        base::failpoint::at("object.stored");
        co_return Ref{key_, size_, base::hex(digest_->finish())};
    }

 private:
    Task<Part> take_buffer() {
        auto bytes = std::make_shared<std::string>(std::exchange(buffer_, {}));
        auto digest = digest_;
        co_return co_await async::offload(bucket_->executor(), pool_, [digest, bytes] {
            return hashed(*digest, std::move(*bytes));
        });
    }

    Task<Result<http_client::Response>> put(Fields query) {
        if (std::exchange(broken_, true)) co_return store_away("a part of " + key_ + " is missing");
        auto part = co_await take_buffer();
        Call call{.method = "PUT",
                  .key = key_,
                  .query = std::move(query),
                  .headers = {},
                  .body = std::move(part.bytes),
                  .body_hash = std::move(part.hash)};
        CO_TRY(auto answer, co_await bucket_->send(std::move(call)));
        if (answer.status != 200) co_return bucket_->refusal("cannot write " + key_, answer);
        broken_ = false;
        co_return answer;
    }

    Task<Result<void>> put_whole() {
        CO_TRY_VOID(co_await put({}));
        co_return Result<void>{};
    }

    Task<Result<void>> begin() {
        CO_TRY(const auto answer,
               co_await bucket_->send(
                   {.method = "POST", .key = key_, .query = {{"uploads", ""}}, .headers = {}}));
        if (answer.status != 200) co_return bucket_->refusal("cannot begin " + key_, answer);
        CO_TRY(id_, parse_upload_id(answer.body));
        co_return Result<void>{};
    }

    Task<Result<void>> send_part() {
        if (id_.empty()) CO_TRY_VOID(co_await begin());
        auto query = of_upload(id_);
        query.emplace_back("partNumber", std::to_string(tags_.size() + 1));
        CO_TRY(const auto answer, co_await put(std::move(query)));
        const auto tag = answer.header("etag");
        if (tag.empty()) co_return store_away("the service names no ETag for a part of " + key_);
        tags_.emplace_back(tag);
        co_return Result<void>{};
    }

    /// The service may say 200 first and in the body that it failed; and an attempt whose answer
    /// was lost may have been carried out, so that the next finds no such upload.
    Task<Result<void>> complete() {
        auto body = completion(tags_);
        auto hash = base::hex(base::sha256(body));
        CO_TRY(const auto answer, co_await bucket_->send({.method = "POST",
                                                          .key = key_,
                                                          .query = of_upload(id_),
                                                          .headers = {},
                                                          .body = std::move(body),
                                                          .body_hash = std::move(hash)}));
        const auto complaint = parse_complaint(answer.body);
        if (answer.status == 200 && complaint.code.empty()) co_return Result<void>{};
        if (complaint.code == "NoSuchUpload" && co_await is_whole()) co_return Result<void>{};
        if (complaint.code == "NoSuchUpload")
            co_return store_away("the upload of " + key_ + " was ended by somebody else");
        co_return bucket_->refusal("cannot complete " + key_, answer);
    }

    Task<bool> is_whole() {
        const auto answer =
            co_await bucket_->send({.method = "HEAD", .key = key_, .query = {}, .headers = {}});
        co_return answer && answer->status == 200 &&
            answer->header("content-length") == std::to_string(size_);
    }

    std::shared_ptr<Bucket> bucket_;
    async::Pool& pool_;
    std::shared_ptr<Abandoned> abandoned_;
    std::string key_, id_, buffer_;
    std::vector<std::string> tags_;
    std::shared_ptr<base::Sha256> digest_ = std::make_shared<base::Sha256>();
    std::uint64_t size_ = 0;
    bool broken_ = false;  ///< bytes were taken and did not arrive: never complete what is there
    bool finished_ = false;
};

class S3Store final : public object_store::Store {
 public:
    S3Store(Executor executor, async::Pool& pool, http_client::Client& http, config::Objects where,
            S3Options options)
        : pool_(pool),
          bucket_(std::make_shared<Bucket>(std::move(executor), http, std::move(where), options)),
          abandoned_(std::make_shared<Abandoned>(bucket_)) {}

    Task<Result<std::unique_ptr<object_store::Upload>>> create(std::string key) override {
        CO_TRY_VOID(check_key(key));
        co_return std::make_unique<S3Upload>(bucket_, pool_, abandoned_, std::move(key));
    }

    Task<Result<std::string>> read(std::string key, std::uint64_t bytes_max) override {
        CO_TRY_VOID(check_key(key));
        CO_TRY(auto answer, co_await bucket_->send({.method = "GET",
                                                    .key = key,
                                                    .query = {},
                                                    .headers = {},
                                                    .answer_bytes_max = bytes_max}));
        if (answer.status != 200) co_return bucket_->refusal("cannot read " + key, answer);
        if (answer.body.size() > bytes_max)
            co_return fail(ErrorCode::too_large,
                           fmt::format("the object has more than {} bytes", bytes_max));
        co_return std::move(answer.body);
    }

    /// In ranges of one and the same object: constant memory, and what breaks is repeated alone.
    Task<Result<fs::path>> fetch(std::string key, fs::path into) override {
        CO_TRY_VOID(check_key(key));
        auto file = std::make_shared<Arriving>(into);
        std::uint64_t done = 0;
        std::string tag;
        for (;;) {
            CO_TRY(auto answer, co_await read_range(key, done, tag));
            const auto size = whole_size(answer);
            // No byte of an empty object can be asked for.
            const bool empty = done == 0 && (answer.status == 416 ||
                                             (answer.status == 200 && answer.body.empty()));
            if (!empty && (answer.status != 206 || !size || answer.body.empty()))
                co_return bucket_->refusal("cannot read " + key, answer);
            if (empty) answer.body.clear();
            if (done == 0) tag = answer.header("etag");
            done += answer.body.size();
            auto bytes = std::make_shared<std::string>(std::move(answer.body));
            CO_TRY_VOID(co_await async::offload(bucket_->executor(), pool_,
                                                [file, bytes] { return file->append(*bytes); }));
            if (empty || done >= *size) break;
        }
        file->keep();
        co_return into;
    }

    Task<Result<void>> remove(std::string key) override {
        CO_TRY_VOID(check_key(key));
        CO_TRY(
            const auto answer,
            co_await bucket_->send({.method = "DELETE", .key = key, .query = {}, .headers = {}}));
        if (answer.status == 204 || answer.status == 200) co_return Result<void>{};
        auto refused = bucket_->refusal("cannot remove " + key, answer);
        if (refused.error().code == ErrorCode::not_found) co_return Result<void>{};
        co_return refused;
    }

    /// Keys that are not ours to make are passed over.
    Task<Result<std::vector<Listed>>> list(std::string prefix, std::string after,
                                           std::size_t limit) override {
        std::vector<Listed> out;
        for (bool more = true; more && out.size() < limit;) {
            Fields query{{"encoding-type", "url"},
                         {"list-type", "2"},
                         {"max-keys", std::to_string(std::min(k_page, limit - out.size()))}};
            if (!prefix.empty()) query.emplace_back("prefix", prefix);
            if (!after.empty()) query.emplace_back("start-after", after);
            CO_TRY(const auto answer,
                   co_await bucket_->send(
                       {.method = "GET", .key = {}, .query = std::move(query), .headers = {}}));
            if (answer.status != 200) co_return bucket_->refusal("cannot list", answer);
            CO_TRY(auto page, parse_object_page(answer.body));
            more = page.more && !page.objects.empty();
            if (!page.objects.empty()) after = page.objects.back().key;
            for (auto& object : page.objects)
                if (object_store::is_valid_key(object.key)) out.push_back(std::move(object));
        }
        co_return out;
    }

    Task<Result<std::size_t>> discard_unfinished(base::WallTime before) override {
        std::size_t discarded = 0;
        std::string key, id;
        for (bool more = true; more;) {
            Fields query{{"uploads", ""}, {"encoding-type", "url"}};
            if (!key.empty())
                query.insert(query.end(), {{"key-marker", key}, {"upload-id-marker", id}});
            CO_TRY(const auto answer,
                   co_await bucket_->send(
                       {.method = "GET", .key = {}, .query = std::move(query), .headers = {}}));
            if (answer.status != 200) co_return bucket_->refusal("cannot list uploads", answer);
            CO_TRY(const auto page, parse_upload_page(answer.body));
            more = page.more && !page.uploads.empty();
            for (const auto& upload : page.uploads) {
                key = upload.key;
                id = upload.id;
                if (upload.begun >= before || !object_store::is_valid_key(key)) continue;
                CO_TRY_VOID(co_await discard(key, id));
                ++discarded;
            }
        }
        co_return discarded;
    }

    Task<void> close() override {
        abandoned_->closed = true;
        if (!co_await abandoned_->tasks.join(Deadline::in(k_close_max))) {
            abandoned_->tasks.cancel();
            co_await abandoned_->tasks.join(Deadline::in(k_close_max));
        }
    }

 private:
    Task<Result<http_client::Response>> read_range(std::string key, std::uint64_t from,
                                                   std::string tag) {
        Call call{
            .method = "GET",
            .key = std::move(key),
            .query = {},
            .headers = {{"Range", fmt::format("bytes={}-{}", from, from + k_fetch_bytes - 1)}},
            .answer_bytes_max = k_fetch_bytes};
        if (!tag.empty()) call.headers.emplace_back("If-Match", std::move(tag));
        co_return co_await bucket_->send(std::move(call));
    }

    Task<Result<void>> discard(std::string key, std::string id) {
        CO_TRY(const auto answer,
               co_await bucket_->send(
                   {.method = "DELETE", .key = key, .query = of_upload(id), .headers = {}}));
        if (answer.status != 204 && answer.status != 404)
            co_return bucket_->refusal("cannot end an upload of " + key, answer);
        co_return Result<void>{};
    }

    async::Pool& pool_;
    std::shared_ptr<Bucket> bucket_;
    std::shared_ptr<Abandoned> abandoned_;
};

}  // namespace

std::unique_ptr<object_store::Store> make_s3_store(Executor executor, async::Pool& pool,
                                                   http_client::Client& http, config::Objects where,
                                                   S3Options options) {
    return std::make_unique<S3Store>(std::move(executor), pool, http, std::move(where), options);
}

}  // namespace millrace::providers::objects
