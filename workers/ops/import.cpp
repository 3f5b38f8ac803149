// millrace-ops import: a folder of documents into a tenant, through the public API.

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "workers/ops/tenant_api.hpp"
#include "workers/ops/text.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

struct Options {
    std::string folder, tenant, journal;
    std::size_t parallel = 8;
};

/// What became of each file, one JSON line each: an import that was interrupted goes on where it
/// stopped.
class Journal {
 public:
    explicit Journal(const fs::path& path) : path_(path) {
        std::ifstream in(path);
        for (std::string line; std::getline(in, line);) {
            const auto document = json::parse(line);
            if (!document) continue;  // the line that a crash cut off
            auto reader = document->reader();
            const auto key = reader.string("key");
            if (!reader.error()) status_[key] = reader.string("status");
        }
        out_.open(path, std::ios::app);
    }
    [[nodiscard]] bool writable() const { return out_.is_open(); }
    [[nodiscard]] bool done(const std::string& key) const {
        const auto found = status_.find(key);
        return found != status_.end() && found->second == "succeeded";
    }
    void write(const std::string& key, const std::string& file, const std::string& file_id,
               const std::string& status) {
        out_ << json::dump({{"key", key}, {"file", file}, {"file_id", file_id}, {"status", status}})
             << std::endl;
    }

 private:
    fs::path path_;
    std::ofstream out_;
    std::map<std::string, std::string> status_;
};

class Import {
 public:
    Import(Context& context, TenantApi& api, Journal& journal, fs::path folder,
           std::vector<fs::path> files)
        : context_(context),
          api_(api),
          journal_(journal),
          folder_(std::move(folder)),
          files_(std::move(files)) {}

    Task<Result<void>> run(std::size_t parallel) {
        async::TaskGroup group(context_.executor(),
                               [](const std::string&, const std::string& what) {
                                   fmt::print(stderr, "\n{}\n", what);
                               });
        for (std::size_t i = 0; i < parallel; ++i) group.spawn("import", work());
        co_await group.join(Deadline::at(base::SteadyTime::max()));
        show(true);
        if (context_.json()) {
            fmt::print("{}\n", json::dump({{"files", files_.size()},
                                           {"imported", imported_},
                                           {"already_there", skipped_},
                                           {"failed", failed_}}));
        } else {
            fmt::print("{} files: {} imported, {} were there already, {} failed\n", files_.size(),
                       imported_, skipped_, failed_);
        }
        if (failed_ > 0)
            co_return fail(ErrorCode::invalid,
                           fmt::format("{} of {} files were not imported", failed_, files_.size()));
        co_return Result<void>{};
    }

 private:
    Task<void> work() {
        while (next_ < files_.size()) {
            const auto file = files_[next_++];
            const auto done = co_await one(file);
            if (!done) {
                ++failed_;
                fmt::print(stderr, "{}{}: {}\n", progress_.erase(),
                           file.lexically_relative(folder_).string(), done.error().detail);
            }
            show(false);
        }
    }

    Task<Result<void>> one(fs::path file) {
        const auto name = file.lexically_relative(folder_).string();
        const auto key = key_of(file, name);
        if (journal_.done(key)) {
            ++skipped_;
            co_return Result<void>{};
        }
        CO_TRY(const auto uploaded, co_await api_.upload(file, key, Deadline::in(10min)));
        CO_TRY(const auto job, co_await api_.wait_job(uploaded.job_id, Deadline::in(30min)));
        CO_TRY(const auto document, json::parse(job));
        auto reader = document.reader();
        const auto status = reader.string("status");
        journal_.write(key, name, uploaded.file_id, status);
        if (status == "succeeded") {
            ++imported_;
            co_return Result<void>{};
        }
        auto error = reader.optional_object("error");
        co_return fail(ErrorCode::invalid,
                       error ? error->optional_string("message").value_or(status) : status);
    }

    /// The same file under the same name is imported once; a changed one again. Also the
    /// Idempotency-Key, for a crash between upload and journal.
    static std::string key_of(const fs::path& file, const std::string& name) {
        base::Sha256 digest;
        digest.update(name + '\n');
        std::ifstream in(file, std::ios::binary);
        std::string block(1 << 16, '\0');
        while (in.read(block.data(), static_cast<std::streamsize>(block.size())) ||
               in.gcount() > 0) {
            digest.update(std::string_view(block).substr(0, static_cast<std::size_t>(in.gcount())));
        }
        return base::hex(digest.finish());
    }

    void show(bool last) const { progress_.show(imported_ + skipped_ + failed_, last); }

    Context& context_;
    TenantApi& api_;
    Journal& journal_;
    fs::path folder_;
    std::vector<fs::path> files_;
    std::size_t next_ = 0, imported_ = 0, skipped_ = 0, failed_ = 0;
    Progress progress_{files_.size()};
};

Result<std::vector<fs::path>> documents_in(const fs::path& folder) {
    std::error_code ec;
    std::vector<fs::path> files;
    for (fs::recursive_directory_iterator
             it(folder, fs::directory_options::skip_permission_denied, ec),
         end;
         !ec && it != end; it.increment(ec)) {
        const auto extension = base::ascii_lower(it->path().extension().string());
        if (it->is_regular_file() &&
            (extension == ".pdf" || extension == ".docx" || extension == ".txt"))
            files.push_back(it->path());
    }
    if (ec) return fail(ErrorCode::invalid, fmt::format("{}: {}", folder.string(), ec.message()));
    if (files.empty())
        return fail(ErrorCode::invalid,
                    fmt::format("{} holds no .pdf, .docx or .txt files", folder.string()));
    std::ranges::sort(files);
    return files;
}

Task<Result<void>> import(Context& context, Options options) {
    const fs::path folder = options.folder;
    CO_TRY(auto files, documents_in(folder));
    CO_TRY(auto owner, co_await find_owner(context, options.tenant));
    Journal journal(options.journal.empty()
                        ? folder / (".millrace-import-" + owner.tenant.str() + ".jsonl")
                        : fs::path(options.journal));
    if (!journal.writable())
        co_return fail(ErrorCode::invalid,
                       "the journal cannot be written: name another file with --journal");
    CO_TRY(auto token, co_await sign_in(context, owner));
    TenantApi api(context, std::move(token));
    Import work(context, api, journal, folder, std::move(files));
    co_return co_await work.run(options.parallel);
}

}  // namespace

void add_import(CLI::App& app, Context& context, Run& run) {
    auto options = std::make_shared<Options>();
    auto* command = app.add_subcommand(
        "import",
        "Upload a folder of PDF, DOCX and TXT files; run again, it goes on where it stopped");
    command->add_option("folder", options->folder, "searched with its subfolders")
        ->required()
        ->check(CLI::ExistingDirectory);
    command->add_option("--tenant", options->tenant, "a tenant's id or domain")->required();
    command->add_option("--journal", options->journal, "what is done already [in the folder]");
    command->add_option("--parallel", options->parallel, "files at once")->check(CLI::Range(1, 64));
    command->callback([&context, &run, options] {
        run = [&context, options] { return import(context, *options); };
    });
}

}  // namespace millrace::workers::ops
