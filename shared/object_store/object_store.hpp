#pragma once
// Large things (documents, audio) live here; events carry a Ref. Keys are made by us
// ("<tenant>/<uuid>"), never from user input.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

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
};

}  // namespace millrace::object_store
