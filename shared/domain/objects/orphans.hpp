#pragma once
// Objects that no document names: left by an upload that ended between object and row, or by a
// removal that the store did not take. files is the truth about which are needed.

#include <functional>

#include "shared/object_store/object_store.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::objects {

/// Only what is older than `age` goes. A row is written within seconds of its object's last byte,
/// or never, and no later request takes up an old object; but a body may be hours on its way, and
/// some stores date an object by its beginning: `age` must exceed the longest upload (29 hours, at
/// the slowest that the edge bears with).
struct SweepOptions {
    std::chrono::milliseconds age{};
    bool dry_run = false;  ///< removes nothing; unfinished uploads are not looked at
    std::size_t page = 1000;
};

struct Swept {
    std::uint64_t seen = 0;     ///< objects in the store
    std::uint64_t orphans = 0;  ///< removed, or what a dry run would remove
    std::uint64_t bytes = 0;    ///< of those
    std::uint64_t uploads = 0;  ///< begun, never finished, ended now
};

/// One run over the whole store, page by page. Each object is looked up once more right before it
/// is removed. `on_orphan` hears of each that goes or would go. Two runs at once are harmless.
/// `pipeline`: as millrace_pipeline. What of `swept` was reached stands there also on failure.
Task<Result<void>> sweep(object_store::Store& store, postgres::Database& pipeline,
                         SweepOptions options, Swept& swept,
                         std::function<void(const object_store::Listed&)> on_orphan,
                         Deadline deadline);

}  // namespace millrace::domain::objects
