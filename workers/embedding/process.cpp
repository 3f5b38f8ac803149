#include "workers/embedding/process.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "shared/providers/objects/objects.hpp"
#include "shared/sandbox/bubblewrap.hpp"
#include "shared/telemetry/log.hpp"
#include "workers/embedding/handler.hpp"
#include "workers/embedding/reindex.hpp"

namespace millrace::workers::embedding {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr int k_nice = 10;
constexpr std::chrono::nanoseconds k_slice = 100ms;  // the longest that Linux grants

/// struct sched_attr of sched_setattr(2): the kernel's header and the C library's exclude each
/// other.
struct SchedulingAttributes {
    std::uint32_t size = sizeof(SchedulingAttributes);
    std::uint32_t policy = SCHED_OTHER;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 0;  ///< ns; of SCHED_OTHER: its slice
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
};

/// Where cores are few, answers go before documents: a tenth of the weight, and since Linux 6.12
/// also a long slice, which whoever wakes up with a shorter one may cut short at once
/// (sched_setattr(2)). The extractors inherit both.
void step_back() {
    const SchedulingAttributes wanted{.nice = k_nice,
                                      .runtime = static_cast<std::uint64_t>(k_slice.count())};
    (void)::syscall(SYS_sched_setattr, 0, &wanted, 0);
    // Between sessions Linux goes by the session's number, if it keeps one (sched(7), autogroup).
    if (::getsid(0) == ::getpid()) std::ofstream("/proc/self/autogroup") << k_nice;
}

/// Takes out of a vector store elsewhere what is gone here.
Task<void> sweep(providers::vector::Store& vectors, postgres::Database& app, Executor executor,
                 std::chrono::milliseconds pause) {
    for (;;) {
        const auto removed =
            co_await providers::vector::sweep(vectors, app, Deadline::in(std::chrono::minutes(1)));
        if (!removed)
            telemetry::log::warning("vector sweep failed", {{"why", removed.error().log}});
        co_await async::delay(executor, pause);
    }
}

/// A folder of our own: beside the objects where those are files, so that a document can be linked
/// instead of copied, else among the temporary files ($TMPDIR).
class ScratchFolder {
 public:
    explicit ScratchFolder(const Config& config) {
        if (config.objects.dir.empty()) {
            auto name = (fs::temp_directory_path() / "millrace-scratch-XXXXXX").string();
            if (::mkdtemp(name.data()) == nullptr)
                throw fs::filesystem_error("cannot make", name,
                                           std::error_code(errno, std::generic_category()));
            path_ = name;
        } else {
            path_ = fs::path(config.objects.dir) / ".scratch" / config.worker.process.name;
            fs::remove_all(path_);  // what a crash left
            fs::create_directories(path_);
        }
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    ~ScratchFolder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
    fs::path path_;
};

}  // namespace

Config Config::read(config::Loader& in) {
    return {.worker = runtime::Config::read(in, "embedding"),
            .objects = config::Objects::read(in),
            .embeddings = config::Embeddings::read(in),
            .vectors = config::Vectors::read(in),
            .extraction = config::Extraction::read(in)};
}

Task<Result<void>> run(service::Service& service, const Config& config) {
    step_back();
    async::Pool pool(1);
    const ScratchFolder scratch(config);
    sandbox::Bubblewrap sandbox(service.executor(), {});
    CO_TRY_VOID(co_await sandbox.probe());
    auto http = http_client::make_client(service.executor(), {});
    auto objects = providers::objects::make_store(service.executor(), pool, *http, config.objects);
    const auto embedder = providers::embedding::make_embedder(*http, config.embeddings);
    std::optional<domain::knowledge::Files> files;
    std::optional<domain::knowledge::IndexGenerations> generations;
    std::unique_ptr<providers::vector::Store> vectors;
    co_return co_await runtime::run_worker(
        service, config.worker, "embedding",
        [&](runtime::Resources resources) -> Result<runtime::Handlers> {
            files.emplace(resources.app);
            generations.emplace(resources.app);
            vectors = providers::vector::make_store(*http, resources.app, config.vectors);
            if (vectors->external())
                resources.tasks.spawn(
                    "vector sweep",
                    sweep(*vectors, resources.app, resources.executor, config.vectors.sweep));
            return runtime::Handlers{
                {"knowledge.embed",
                 make_embed_handler({.objects = *objects,
                                     .sandbox = sandbox,
                                     .files = *files,
                                     .embedder = embedder.get(),
                                     .vectors = *vectors,
                                     .pool = pool,
                                     .programs = {.extract = config.extraction.program},
                                     .scratch = scratch.path()})},
                {"knowledge.reindex", make_reindex_handler({.generations = *generations,
                                                            .app = resources.app,
                                                            .embedder = embedder.get(),
                                                            .vectors = *vectors})}};
        });
}

}  // namespace millrace::workers::embedding
