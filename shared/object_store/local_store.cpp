#include "shared/object_store/local_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "shared/base/crypto.hpp"
#include "shared/base/failpoint.hpp"
#include "shared/base/fd.hpp"

namespace millrace::object_store {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t k_write_bytes = 256 * 1024;       // one visit to the pool per so many bytes
constexpr std::string_view k_uploading = ".uploading";  // no key begins with a dot
constexpr auto k_abandoned = std::chrono::hours(24);

/// A full or read-only disk, missing rights, a vanished mount: all of them a person can mend while
/// the caller tries again.
std::unexpected<Error> unavailable(std::string_view what, const fs::path& path, int number) {
    return fail(ErrorCode::unavailable, "the document store is not available now",
                {.log = fmt::format("object store: cannot {} {}: {}", what, path.string(),
                                    std::generic_category().message(number)),
                 .source = fmt::format("errno:{}", number)});
}

std::unexpected<Error> no_such_object() {
    return fail(ErrorCode::not_found, "there is no such object");
}

Result<void> write_all(int fd, std::string_view bytes, const fs::path& path) {
    while (!bytes.empty()) {
        const auto written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return unavailable("write", path, errno);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

Result<void> sync_folder(const fs::path& folder) {
    const base::Fd dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir.get() < 0 || ::fsync(dir.get()) != 0) return unavailable("sync folder", folder, errno);
    return {};
}

/// Creates `folder` below `root`, and makes every new name durable.
Result<void> make_folder(const fs::path& root, const fs::path& folder) {
    if (folder == root || ::access(folder.c_str(), F_OK) == 0) return {};
    TRY_VOID(make_folder(root, folder.parent_path()));
    if (::mkdir(folder.c_str(), 0750) != 0 && errno != EEXIST)
        return unavailable("create folder", folder, errno);
    return sync_folder(folder.parent_path());
}

/// What an upload's file operations share; lives until the last of them has run.
struct Writing {
    base::Fd file;
    fs::path root, temporary, target;
    base::Sha256 digest;
    std::uint64_t size = 0;
    bool broken = false;  ///< a write failed: never publish what is there
    bool published = false;

    Writing(base::Fd f, fs::path top, fs::path from, fs::path to)
        : file(std::move(f)),
          root(std::move(top)),
          temporary(std::move(from)),
          target(std::move(to)) {}
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;
    ~Writing() {
        if (!published) ::unlink(temporary.c_str());
    }

    Result<void> append(std::string_view bytes) {
        digest.update(bytes);
        size += bytes.size();
        auto written = write_all(file.get(), bytes, temporary);
        broken |= !written;
        return written;
    }

    Result<void> publish() {
        if (broken) return unavailable("publish", target, EIO);
        if (::fsync(file.get()) != 0) return unavailable("sync", temporary, errno);
        TRY_VOID(make_folder(root, target.parent_path()));
        if (::rename(temporary.c_str(), target.c_str()) != 0)
            return unavailable("rename to", target, errno);
        published = true;
        return sync_folder(target.parent_path());
    }
};

class LocalUpload final : public Upload {
 public:
    LocalUpload(Executor executor, async::Pool& pool, std::shared_ptr<Writing> writing,
                std::string key)
        : executor_(std::move(executor)),
          pool_(pool),
          writing_(std::move(writing)),
          key_(std::move(key)) {}

    Task<Result<void>> write(std::string_view bytes) override {
        buffer_ += bytes;
        if (buffer_.size() < k_write_bytes) co_return Result<void>{};
        co_return co_await flush();
    }

    Task<Result<Ref>> finish() override {
        CO_TRY_VOID(co_await flush());
        auto writing = writing_;
        CO_TRY_VOID(
            co_await async::offload(executor_, pool_, [writing] { return writing->publish(); }));
        base::failpoint::at("object.stored");
        co_return Ref{key_, writing_->size, base::hex(writing_->digest.finish())};
    }

 private:
    Task<Result<void>> flush() {
        auto writing = writing_;
        auto bytes = std::make_shared<std::string>(std::exchange(buffer_, {}));
        co_return co_await async::offload(executor_, pool_,
                                          [writing, bytes] { return writing->append(*bytes); });
    }

    Executor executor_;
    async::Pool& pool_;
    std::shared_ptr<Writing> writing_;
    std::string key_, buffer_;
};

Result<std::shared_ptr<Writing>> open_upload(const fs::path& root, const std::string& key) {
    const auto temporary = root / k_uploading / base::random_token(16);
    base::Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
    if (file.get() < 0) return unavailable("create", temporary, errno);
    return std::make_shared<Writing>(std::move(file), root, temporary, root / key);
}

Result<std::string> read_file(const fs::path& path, std::uint64_t bytes_max) {
    const base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0)
        return errno == ENOENT || errno == ENOTDIR ? Result<std::string>(no_such_object())
                                                   : unavailable("open", path, errno);
    struct stat info{};
    if (::fstat(file.get(), &info) != 0) return unavailable("open", path, errno);
    if (!S_ISREG(info.st_mode)) return no_such_object();
    if (static_cast<std::uint64_t>(info.st_size) > bytes_max) {
        return fail(ErrorCode::too_large,
                    fmt::format("the object has {} bytes, more than {}", info.st_size, bytes_max));
    }
    std::string out(static_cast<std::size_t>(info.st_size), '\0');
    std::size_t at = 0;
    while (at < out.size()) {
        const auto got = ::read(file.get(), out.data() + at, out.size() - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return unavailable("read", path, got < 0 ? errno : EIO);
        at += static_cast<std::size_t>(got);
    }
    return out;
}

Result<fs::path> link_or_copy(const fs::path& from, const fs::path& into) {
    std::error_code ec;
    if (!fs::is_regular_file(from, ec)) {
        const bool absent =
            !ec || ec == std::errc::no_such_file_or_directory || ec == std::errc::not_a_directory;
        return absent ? Result<fs::path>(no_such_object()) : unavailable("open", from, ec.value());
    }
    fs::create_hard_link(from, into, ec);
    if (!ec) return into;
    ec.clear();
    fs::copy_file(from, into, fs::copy_options::overwrite_existing,
                  ec);  // another file system, or not ours to link
    if (ec) return unavailable("copy to", into, ec.value());
    return into;
}

base::WallTime modified(const struct stat& info) {
    return base::WallTime(std::chrono::seconds(info.st_mtim.tv_sec) +
                          std::chrono::nanoseconds(info.st_mtim.tv_nsec));
}

/// Left behind by processes that were killed. Several may sweep at once.
std::size_t discard_written_before(const fs::path& folder, base::WallTime before) {
    std::size_t discarded = 0;
    std::error_code ec;
    fs::directory_iterator entry(folder, ec);
    for (; !ec && entry != fs::directory_iterator{}; entry.increment(ec)) {
        struct stat info{};
        if (::stat(entry->path().c_str(), &info) != 0 || modified(info) >= before) continue;
        discarded += ::unlink(entry->path().c_str()) == 0 ? 1 : 0;
    }
    return discarded;
}

/// A walk in the order of keys. A folder stands where its name with a slash does: "a.b" comes
/// before "a/b", and that before "a0".
struct Walk {
    std::string prefix, after;
    std::size_t limit;
    std::vector<Listed> found{};

    Result<void> into(const fs::path& folder, const std::string& above) {
        TRY(const auto names, names_of(folder, above));
        for (const auto& name : names) {
            if (found.size() >= limit) return {};
            const auto path = folder / name;
            if (name.ends_with('/'))
                TRY_VOID(into(path, above + name));
            else
                add(path, above + name);
        }
        return {};
    }

 private:
    /// What of a folder can hold keys that are asked for, folders with a slash at the end.
    Result<std::vector<std::string>> names_of(const fs::path& folder,
                                              const std::string& above) const {
        std::vector<std::string> names;
        std::error_code ec;
        fs::directory_iterator entry(folder, ec);
        for (; !ec && entry != fs::directory_iterator{}; entry.increment(ec)) {
            auto name = entry->path().filename().string();
            if (!is_valid_key(name)) continue;
            std::error_code gone;
            if (entry->is_directory(gone)) name += '/';
            if (is_wanted(above + name)) names.push_back(std::move(name));
        }
        if (ec && ec != std::errc::no_such_file_or_directory)
            return unavailable("list", folder, ec.value());
        std::ranges::sort(names);
        return names;
    }

    [[nodiscard]] bool is_wanted(const std::string& key) const {
        if (!key.ends_with('/')) return key.starts_with(prefix) && key > after;
        return (key.starts_with(prefix) || prefix.starts_with(key)) &&
               (key > after || after.starts_with(key));
    }

    void add(const fs::path& path, std::string key) {
        struct stat info{};
        if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return;  // gone meanwhile
        found.push_back({.key = std::move(key),
                         .size = static_cast<std::uint64_t>(info.st_size),
                         .modified = modified(info)});
    }
};

class LocalStore final : public Store {
 public:
    LocalStore(Executor executor, async::Pool& pool, fs::path root)
        : executor_(std::move(executor)), pool_(pool), root_(std::move(root)) {
        fs::create_directories(root_ / k_uploading);
        if (::access((root_ / k_uploading).c_str(), W_OK | X_OK) != 0) {
            throw fs::filesystem_error("the object store cannot be written", root_,
                                       std::error_code(errno, std::generic_category()));
        }
        discard_written_before(root_ / k_uploading, std::chrono::system_clock::now() - k_abandoned);
    }

    Task<Result<std::unique_ptr<Upload>>> create(std::string key) override {
        CO_TRY_VOID(check_key(key));
        auto root = root_;
        CO_TRY(auto writing, co_await async::offload(
                                 executor_, pool_, [root, key] { return open_upload(root, key); }));
        co_return std::make_unique<LocalUpload>(executor_, pool_, std::move(writing),
                                                std::move(key));
    }

    Task<Result<std::string>> read(std::string key, std::uint64_t bytes_max) override {
        CO_TRY_VOID(check_key(key));
        const auto path = root_ / key;
        co_return co_await async::offload(executor_, pool_,
                                          [path, bytes_max] { return read_file(path, bytes_max); });
    }

    Task<Result<fs::path>> fetch(std::string key, fs::path into) override {
        CO_TRY_VOID(check_key(key));
        const auto from = root_ / key;
        co_return co_await async::offload(executor_, pool_,
                                          [from, into] { return link_or_copy(from, into); });
    }

    Task<Result<void>> remove(std::string key) override {
        CO_TRY_VOID(check_key(key));
        const auto path = root_ / key;
        co_return co_await async::offload(executor_, pool_, [path]() -> Result<void> {
            if (::unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
                return unavailable("remove", path, errno);
            return {};
        });
    }

    Task<Result<std::vector<Listed>>> list(std::string prefix, std::string after,
                                           std::size_t limit) override {
        const auto root = root_;
        auto walk = std::make_shared<Walk>(std::move(prefix), std::move(after), limit);
        CO_TRY_VOID(co_await async::offload(executor_, pool_,
                                            [walk, root] { return walk->into(root, {}); }));
        co_return std::move(walk->found);
    }

    Task<Result<std::size_t>> discard_unfinished(base::WallTime before) override {
        const auto folder = root_ / k_uploading;
        co_return co_await async::offload(executor_, pool_, [folder, before] {
            return Result<std::size_t>(discard_written_before(folder, before));
        });
    }

    Task<void> close() override { co_return; }

 private:
    Executor executor_;
    async::Pool& pool_;
    fs::path root_;
};

}  // namespace

std::unique_ptr<Store> make_local_store(Executor executor, async::Pool& pool, fs::path root) {
    return std::make_unique<LocalStore>(std::move(executor), pool, std::move(root));
}

}  // namespace millrace::object_store
