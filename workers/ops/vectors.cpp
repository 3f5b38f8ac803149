// millrace-ops vectors: indexes of tenants too large to be compared vector by vector.

#include <fmt/format.h>

#include <charconv>

#include "shared/json/writer.hpp"
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

using postgres::Statement;
const Statement k_version{"vectors_version",
                          "SELECT extversion FROM pg_extension WHERE extname = 'vector'"};
const Statement k_plan{"vectors_plan", "SELECT statement FROM vector_index_plan($1)"};

constexpr std::int64_t k_lock = 0x76656374;  // one at a time
// HNSW of the releases before has had faults in building and vacuuming.
constexpr std::array<int, 3> k_version_min = {0, 8, 4};

struct Options {
    bool any_version = false;
};

bool recent(std::string_view version) {
    std::array<int, 3> parts{};
    const auto* at = version.data();
    for (auto& part : parts) {
        at = std::from_chars(at, version.data() + version.size(), part).ptr;
        if (at != version.data() + version.size()) ++at;
    }
    return parts >= k_version_min;
}

Task<Result<void>> index(Context& context, Options options) {
    auto& owner = context.builder();
    CO_TRY(const auto rows, co_await owner.run(postgres::call(k_version), Deadline::in(10s)));
    const auto version = rows[0].get<std::string>(0);
    if (!options.any_version && !recent(version)) {
        co_return fail(ErrorCode::invalid,
                       "pgvector " + version +
                           " is older than 0.8.4, whose indexes can be relied on: vectors go on "
                           "being compared one by one");
    }
    CO_TRY(const auto lock, co_await owner.try_lock(k_lock, Deadline::in(10s)));
    if (!lock) co_return fail(ErrorCode::conflict, "another process is at it");
    const auto above = context.vectors().index_above;
    CO_TRY(const auto plan, co_await owner.run(postgres::call(k_plan, above), Deadline::in(60s)));
    json::Array done;
    for (std::size_t r = 0; r < plan.size(); ++r) {
        auto statement = plan[r].get<std::string>(0);
        if (!context.json()) fmt::print("{}\n", statement);
        done.emplace_back(statement);
        // Alone in its script: it may not be part of a transaction.
        CO_TRY_VOID(co_await owner.script(std::move(statement), Deadline::in(6h)));
    }
    if (context.json())
        fmt::print("{}\n", json::dump(done));
    else if (done.empty())
        fmt::print("nothing to do\n");
    co_return Result<void>{};
}

}  // namespace

void add_vectors(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* vectors = app.add_subcommand("vectors", "Dense vectors");
    vectors->require_subcommand(1);
    auto* command = vectors->add_subcommand(
        "index",
        "Make an index for each tenant with more than MILLRACE_VECTOR_INDEX_ABOVE chunks, "
        "and drop what is not needed; searches and uploads go on");
    command->add_flag("--any-version", options->any_version,
                      "also with a pgvector before 0.8.4: for tests");
    command->callback([&context, &run, options] {
        run = [&context, options] { return index(context, *options); };
    });
}

}  // namespace millrace::workers::ops
