#pragma once
// Objects as files under one folder.

#include "shared/async/offload.hpp"
#include "shared/object_store/object_store.hpp"

namespace millrace::object_store {

/// `root` is created when missing; unfinished uploads older than a day are removed. File operations run on `pool`.
/// Throws std::filesystem::filesystem_error when the folder cannot be used (start-up only).
std::unique_ptr<Store> make_local_store(Executor executor, async::Pool& pool, std::filesystem::path root);

/// [A-Za-z0-9._-] segments separated by '/', none of them "." or "..".
[[nodiscard]] bool is_valid_key(std::string_view key) noexcept;

}  // namespace millrace::object_store
