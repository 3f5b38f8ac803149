#include "shared/object_store/local_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "shared/base/crypto.hpp"

namespace millrace::object_store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t k_buffer_bytes = 256 * 1024;
constexpr auto k_abandoned = std::chrono::hours(24);

std::unexpected<Error> failed(std::string_view what) {
    const int number = errno;
    const auto code = number == ENOENT ? ErrorCode::not_found : ErrorCode::unavailable;
    std::array<char, 128> text{};
    return fail(code, "the document store is not available now",
                {.log = fmt::format("{}: {}", what, strerror_r(number, text.data(), text.size())), .source = fmt::format("errno:{}", number)});
}

class File {
 public:
    explicit File(int fd) : fd_(fd) {}
    ~File() {
        if (fd_ >= 0) ::close(fd_);
    }
    File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    File& operator=(File&&) = delete;
    [[nodiscard]] int get() const noexcept { return fd_; }

 private:
    int fd_;
};

Result<void> write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return failed("write");
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

Result<void> sync_folder(const fs::path& folder) {
    const File dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir.get() < 0 || ::fsync(dir.get()) != 0) return failed("fsync of a folder");
    return {};
}

/// What an upload's file operations share; lives until the last of them has run.
struct Writing {
    File file;
    fs::path temporary, target;
    base::Sha256 digest;
    std::uint64_t size = 0;
    bool finished = false;

    Writing(File f, fs::path from, fs::path to) : file(std::move(f)), temporary(std::move(from)), target(std::move(to)) {}
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;
    ~Writing() {
        if (!finished) ::unlink(temporary.c_str());
    }

    Result<void> append(std::string_view bytes) {
        digest.update(bytes);
        size += bytes.size();
        return write_all(file.get(), bytes);
    }

    Result<void> publish() {
        if (::fsync(file.get()) != 0) return failed("fsync");
        if (::rename(temporary.c_str(), target.c_str()) != 0) return failed("rename");
        finished = true;
        return sync_folder(target.parent_path());
    }
};

class LocalUpload final : public Upload {
 public:
    LocalUpload(Executor executor, async::Pool& pool, std::shared_ptr<Writing> writing, std::string key)
        : executor_(std::move(executor)), pool_(pool), writing_(std::move(writing)), key_(std::move(key)) {}

    Task<Result<void>> write(std::string_view bytes) override {
        buffer_ += bytes;
        if (buffer_.size() < k_buffer_bytes) co_return Result<void>{};
        co_return co_await flush();
    }

    Task<Result<Ref>> finish() override {
        CO_TRY_VOID(co_await flush());
        auto writing = writing_;
        CO_TRY_VOID(co_await async::offload(executor_, pool_, [writing] { return writing->publish(); }));
        co_return Ref{key_, writing_->size, base::hex(writing_->digest.finish())};
    }

 private:
    Task<Result<void>> flush() {
        auto writing = writing_;
        auto bytes = std::make_shared<std::string>(std::exchange(buffer_, {}));
        co_return co_await async::offload(executor_, pool_, [writing, bytes] { return writing->append(*bytes); });
    }

    Executor executor_;
    async::Pool& pool_;
    std::shared_ptr<Writing> writing_;
    std::string key_, buffer_;
};

Result<std::shared_ptr<Writing>> open_upload(const fs::path& root, const std::string& key) {
    const auto target = root / key;
    std::error_code ec;
    fs::create_directories(target.parent_path(), ec);
    if (ec) return fail(ErrorCode::unavailable, "the document store is not available now", {.log = ec.message()});
    const auto temporary = root / "uploading" / (base::random_token(12) + ".part");
    File file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
    if (file.get() < 0) return failed("open");
    return std::make_shared<Writing>(std::move(file), temporary, target);
}

Result<std::string> read_file(const fs::path& path, std::uint64_t bytes_max) {
    const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info{};
    if (file.get() < 0 || ::fstat(file.get(), &info) != 0) return failed("open");
    if (static_cast<std::uint64_t>(info.st_size) > bytes_max) return fail(ErrorCode::too_large, "the object is too large");
    std::string out(static_cast<std::size_t>(info.st_size), '\0');
    std::size_t at = 0;
    while (at < out.size()) {
        const auto got = ::read(file.get(), out.data() + at, out.size() - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return failed("read");
        at += static_cast<std::size_t>(got);
    }
    return out;
}

class LocalStore final : public Store {
 public:
    LocalStore(Executor executor, async::Pool& pool, fs::path root) : executor_(std::move(executor)), pool_(pool), root_(std::move(root)) {
        fs::create_directories(root_ / "uploading");
        for (const auto& entry : fs::directory_iterator(root_ / "uploading")) {
            std::error_code ignored;
            if (fs::file_time_type::clock::now() - entry.last_write_time() > k_abandoned) fs::remove(entry.path(), ignored);
        }
    }

    Task<Result<std::unique_ptr<Upload>>> create(std::string key) override {
        check(is_valid_key(key), "object keys are ours");
        auto root = root_;
        CO_TRY(auto writing, co_await async::offload(executor_, pool_, [root, key] { return open_upload(root, key); }));
        co_return std::make_unique<LocalUpload>(executor_, pool_, std::move(writing), std::move(key));
    }

    Task<Result<std::string>> read(std::string key, std::uint64_t bytes_max) override {
        check(is_valid_key(key), "object keys are ours");
        const auto path = root_ / key;
        co_return co_await async::offload(executor_, pool_, [path, bytes_max] { return read_file(path, bytes_max); });
    }

    Task<Result<fs::path>> fetch(std::string key, fs::path into) override {
        check(is_valid_key(key), "object keys are ours");
        const auto from = root_ / key;
        co_return co_await async::offload(executor_, pool_, [from, into]() -> Result<fs::path> {
            std::error_code ec;
            fs::create_hard_link(from, into, ec);
            if (ec) fs::copy_file(from, into, fs::copy_options::overwrite_existing, ec);
            if (ec == std::errc::no_such_file_or_directory) return fail(ErrorCode::not_found, "there is no such object");
            if (ec) return fail(ErrorCode::unavailable, "the document store is not available now", {.log = ec.message()});
            return into;
        });
    }

    Task<Result<void>> remove(std::string key) override {
        check(is_valid_key(key), "object keys are ours");
        const auto path = root_ / key;
        co_return co_await async::offload(executor_, pool_, [path]() -> Result<void> {
            if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("unlink");
            return {};
        });
    }

 private:
    Executor executor_;
    async::Pool& pool_;
    fs::path root_;
};

}  // namespace

bool is_valid_key(std::string_view key) noexcept {
    if (key.empty() || key.size() > 500 || key.front() == '/' || key.back() == '/') return false;
    std::string_view segment;
    while (!key.empty()) {
        const auto slash = std::min(key.find('/'), key.size());
        segment = key.substr(0, slash);
        key.remove_prefix(std::min(slash + 1, key.size()));
        const bool clean = std::ranges::all_of(segment, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        });
        if (segment.empty() || segment == "." || segment == ".." || !clean) return false;
    }
    return true;
}

std::unique_ptr<Store> make_local_store(Executor executor, async::Pool& pool, fs::path root) {
    return std::make_unique<LocalStore>(std::move(executor), pool, std::move(root));
}

}  // namespace millrace::object_store
