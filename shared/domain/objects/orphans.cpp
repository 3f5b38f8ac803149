#include "shared/domain/objects/orphans.hpp"

#include <algorithm>
#include <set>

namespace millrace::domain::objects {

using object_store::Listed;

namespace {

constexpr auto k_lookup = std::chrono::seconds(10);

const postgres::Statement k_unreferenced{"objects_unreferenced",
                                         "SELECT * FROM unreferenced_objects($1, $2)"};

/// "<tenant>/<file>": whatever else somebody put there is not ours to remove.
bool is_document(std::string_view key) {
    const auto slash = key.find('/');
    return slash != std::string_view::npos && base::Uuid::parse(key.substr(0, slash)) &&
           base::Uuid::parse(key.substr(slash + 1));
}

Task<Result<std::set<std::string>>> unreferenced(postgres::Database& pipeline,
                                                 std::vector<Listed> objects, Deadline deadline) {
    std::set<std::string> out;
    if (objects.empty()) co_return out;
    std::vector<std::string> keys;
    std::vector<base::WallTime> modified;
    for (auto& object : objects) {
        keys.push_back(std::move(object.key));
        modified.push_back(object.modified);
    }
    CO_TRY(const auto rows,
           co_await pipeline.run(postgres::call(k_unreferenced, keys, modified), deadline));
    for (std::size_t r = 0; r < rows.size(); ++r) out.insert(rows[r].get<std::string>(0));
    co_return out;
}

}  // namespace

Task<Result<void>> sweep(object_store::Store& store, postgres::Database& pipeline,
                         SweepOptions options, Swept& swept,
                         std::function<void(const Listed&)> on_orphan, Deadline deadline) {
    const auto before = std::chrono::system_clock::now() - options.age;
    std::string after;
    for (bool more = true; more;) {
        if (deadline.passed())
            co_return fail(ErrorCode::timeout, "there was no time left for all objects");
        CO_TRY(auto page, co_await store.list("", after, options.page));
        more = page.size() == options.page;
        if (more) after = page.back().key;
        swept.seen += page.size();
        std::erase_if(page, [before](const Listed& object) {
            return object.modified >= before || !is_document(object.key);
        });
        CO_TRY(const auto orphans,
               co_await unreferenced(pipeline, page, deadline.capped(k_lookup)));
        for (const auto& object : page) {
            if (!orphans.contains(object.key)) continue;
            if (!options.dry_run) {
                CO_TRY(const auto still,
                       co_await unreferenced(pipeline, {object}, deadline.capped(k_lookup)));
                if (still.empty()) continue;
                CO_TRY_VOID(co_await store.remove(object.key));
            }
            ++swept.orphans;
            swept.bytes += object.size;
            on_orphan(object);
        }
    }
    if (options.dry_run) co_return Result<void>{};
    CO_TRY(swept.uploads, co_await store.discard_unfinished(before));
    co_return Result<void>{};
}

}  // namespace millrace::domain::objects
