#pragma once
// Large things (documents, audio) live here; events carry a Ref. Keys are made by us
// ("<tenant>/<uuid>"), never from user input.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::object_store {

struct Ref {
    std::string key;
    std::uint64_t size = 0;  ///< bytes
    std::string sha256;      ///< 64 hex digits
};

/// One object being written. Nothing is visible until finish(); destroying it unfinished discards
/// the bytes.
class Upload {
 public:
    virtual ~Upload() = default;
    virtual Task<Result<void>> write(std::string_view bytes) = 0;
    /// Durable (fsync of file and folder) when it returns.
    virtual Task<Result<Ref>> finish() = 0;
};

/// An object as a list shows it.
struct Listed {
    std::string key;
    std::uint64_t size = 0;     ///< bytes
    base::WallTime modified{};  ///< by the store's clock; of some stores the begin of its upload
};

class Store {
 public:
    virtual ~Store() = default;
    virtual Task<Result<std::unique_ptr<Upload>>> create(std::string key) = 0;
    /// The whole object; `too_large` above bytes_max, `not_found` if there is none.
    virtual Task<Result<std::string>> read(std::string key, std::uint64_t bytes_max) = 0;
    /// Copies the object into a local file that the caller owns (a local store may hard-link);
    /// returns its path.
    virtual Task<Result<std::filesystem::path>> fetch(std::string key,
                                                      std::filesystem::path into) = 0;
    /// Removing what is not there is no error.
    virtual Task<Result<void>> remove(std::string key) = 0;
    /// The first `limit` objects whose keys begin with `prefix` and come after `after`, in the
    /// order of their bytes. Fewer than `limit`: there are no more.
    virtual Task<Result<std::vector<Listed>>> list(std::string prefix, std::string after,
                                                   std::size_t limit) = 0;
    /// Ends uploads that were begun before `before` and never finished; how many. What goes on
    /// uploading one of them fails.
    virtual Task<Result<std::size_t>> discard_unfinished(base::WallTime before) = 0;
    /// Waits until the bytes of cut uploads are gone, for some seconds. The last call, whenever
    /// uploads were made.
    virtual Task<void> close() = 0;
};

/// Segments of [A-Za-z0-9._-] separated by '/', none empty or beginning with a dot; at most 500
/// bytes.
[[nodiscard]] bool is_valid_key(std::string_view key) noexcept;
/// The same with the error of the stores: keys are made by us, but they travel through events.
[[nodiscard]] Result<void> check_key(std::string_view key);

}  // namespace millrace::object_store
