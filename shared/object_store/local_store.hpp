#pragma once
// Objects as files under one folder. An upload is written to a temporary file, synced, renamed to
// its key, and the folder synced: a key names a whole object or nothing, after a power cut too.

#include "shared/async/offload.hpp"
#include "shared/object_store/object_store.hpp"

namespace millrace::object_store {

/// `root` is created when missing; unfinished uploads older than a day are removed. File operations
/// run on `pool`. fetch() takes the path of a file that does not exist yet; where it can it
/// hard-links: treat the file as read-only. A full disk or missing rights are `unavailable`, with
/// the path and the cause in the log text. Throws std::filesystem::filesystem_error when the folder
/// cannot be used (start-up only).
std::unique_ptr<Store> make_local_store(Executor executor, async::Pool& pool,
                                        std::filesystem::path root);

}  // namespace millrace::object_store
