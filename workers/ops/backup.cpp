// millrace-ops backup | restore: PostgreSQL and the objects that it names, in one folder. Kafka and
// Redis are not in it: PostgreSQL is the truth, and what has not ended is announced again.

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "shared/base/crypto.hpp"
#include "shared/config/loader.hpp"
#include "shared/postgres/dsn.hpp"
#include "workers/ops/audit.hpp"
#include "workers/ops/embedded_sql.hpp"

namespace millrace::workers::ops {

namespace {

namespace fs = std::filesystem;

constexpr auto k_timeout = std::chrono::hours(6);
constexpr int k_format = 1;
constexpr std::uint64_t k_buffer = 1 << 20;
constexpr std::string_view k_dump = "database.dump";
constexpr std::string_view k_manifest = "manifest.json";

const postgres::Statement k_tables{"restore_tables", R"sql(
SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p'))sql"};
const postgres::Statement k_forget_files{"restore_forget_files",
                                         "DELETE FROM files WHERE object_key = ANY ($1)"};
// Nobody works on anything, and no record of the old log can be relied on: all that is not parked
// or waiting is announced anew.
const postgres::Statement k_requeue{"restore_requeue", R"sql(
WITH gone AS (DELETE FROM workers),
     stale AS (DELETE FROM outbox),
     taken AS (UPDATE jobs SET status = 'queued', worker = NULL WHERE status = 'running' RETURNING id),
     open AS (SELECT id FROM jobs WHERE status = 'queued' UNION SELECT id FROM taken),
     numbered AS (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 256 AS batch FROM open),
     announced AS (INSERT INTO outbox (id, created_at, jobs)
                   SELECT gen_random_uuid(), now() - interval '1 minute', array_agg(id ORDER BY id) FROM numbered GROUP BY batch)
SELECT count(*) FROM open)sql"};

struct Stored {
    std::string key, sha256;
    std::uint64_t size = 0;
};

std::unexpected<Error> io_failed(std::string_view what, const fs::path& path) {
    return fail(ErrorCode::invalid, fmt::format("{} {}: {}", what, path.string(),
                                                std::generic_category().message(errno)));
}

/// SHA-256 and size of a file.
Result<Stored> measure(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return io_failed("cannot read", path);
    base::Sha256 hash;
    Stored out;
    std::string buffer(k_buffer, '\0');
    while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
        const auto count = static_cast<std::size_t>(in.gcount());
        hash.update(std::string_view(buffer).substr(0, count));
        out.size += count;
    }
    if (in.bad()) return io_failed("cannot read", path);
    out.sha256 = base::hex(hash.finish());
    return out;
}

/// Runs one of PostgreSQL's programs on our database; what it wrote to standard output when
/// `output` is set. Its complaints are ours.
Result<std::string> run_program(std::vector<std::string> arguments, const fs::path& scratch,
                                bool output) {
    config::Loader loader;
    const auto dsn = loader.required("MILLRACE_PG_ADMIN_DSN",
                                     "the connection string of the owner of the schema");
    TRY(const auto settings, postgres::environment_of(dsn));
    std::vector<std::string> environment{
        fmt::format("PATH={}", loader.text("PATH", "/usr/bin", "")), "LC_ALL=C"};
    for (const auto& [name, value] : settings)
        environment.push_back(fmt::format("{}={}", name, value));
    const auto pointers = [](std::vector<std::string>& texts) {
        std::vector<char*> out;
        for (auto& text : texts) out.push_back(text.data());
        out.push_back(nullptr);
        return out;
    };
    auto argv = pointers(arguments), envp = pointers(environment);
    const auto out_file = scratch / ".stdout", error_file = scratch / ".stderr";
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    constexpr int k_write = O_WRONLY | O_CREAT | O_TRUNC;
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out_file.c_str(), k_write, 0600);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, error_file.c_str(), k_write, 0600);
    pid_t child = 0;
    const int failed = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), envp.data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0)
        return fail(ErrorCode::unavailable, fmt::format("{} cannot be started: {}", arguments[0],
                                                        std::generic_category().message(failed)));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const auto text_of = [](const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return std::string{std::istreambuf_iterator<char>(in), {}};
    };
    const auto complaint = text_of(error_file);
    auto said = output ? text_of(out_file) : std::string();
    fs::remove(out_file);
    fs::remove(error_file);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(ErrorCode::unavailable,
                    fmt::format("{} failed: {}", arguments[0], complaint.substr(0, 1000)));
    return said;
}

/// The objects that the dump's own table of files names: what a later snapshot says does not count.
Result<std::vector<Stored>> objects_in(const fs::path& dump, const fs::path& scratch) {
    TRY(const auto text,
        run_program({"pg_restore", "--data-only", "--table=files", "--file=-", dump.string()},
                    scratch, true));
    std::vector<Stored> out;
    std::vector<std::string> columns;
    std::size_t at = 0;
    const auto split = [](std::string_view line, std::string_view by) {
        std::vector<std::string> parts;
        for (std::size_t from = 0;;) {
            const auto end = line.find(by, from);
            parts.emplace_back(line.substr(from, end - from));
            if (end == std::string_view::npos) return parts;
            from = end + by.size();
        }
    };
    while (at < text.size()) {
        const auto end = std::min(text.find('\n', at), text.size());
        const auto line = std::string_view(text).substr(at, end - at);
        at = end + 1;
        if (line.starts_with("COPY public.files (")) {
            const auto names = line.substr(19, line.find(')') - 19);
            columns = split(names, ", ");
        } else if (line == "\\.") {
            columns.clear();
        } else if (!columns.empty()) {
            const auto values = split(line, "\t");
            Stored object;
            for (std::size_t c = 0; c < columns.size() && c < values.size(); ++c) {
                if (columns[c] == "object_key") object.key = values[c];
                if (columns[c] == "sha256") object.sha256 = values[c];
                if (columns[c] == "file_size") object.size = std::stoull(values[c]);
            }
            out.push_back(std::move(object));
        }
    }
    return out;
}

fs::path place_of(const fs::path& folder, const Stored& object) {
    return folder / "objects" / object.sha256.substr(0, 2) / object.sha256;
}

/// Copies an object into the folder; false when the store does not have it any more.
Task<Result<bool>> save(Context& context, const fs::path& folder, const Stored& object) {
    const auto place = place_of(folder, object);
    if (fs::exists(place)) co_return true;  // two documents of the same bytes
    fs::create_directories(place.parent_path());
    const auto partial = fs::path(place.string() + ".partial");
    fs::remove(partial);
    const auto fetched = co_await context.objects().fetch(object.key, partial);
    if (!fetched && fetched.error().code == ErrorCode::not_found) co_return false;
    if (!fetched) co_return std::unexpected(fetched.error());
    CO_TRY(const auto seen, measure(partial));
    if (seen.sha256 != object.sha256)
        co_return fail(ErrorCode::conflict,
                       fmt::format("the object {} does not have the bytes that its document was "
                                   "uploaded with",
                                   object.key));
    fs::rename(partial, place);
    co_return true;
}

Result<void> write_file(const fs::path& path, std::string_view text) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << text << std::flush;
    if (!out) return io_failed("cannot write", path);
    return {};
}

Task<Result<void>> save_all(Context& context, fs::path folder, Acting& acting) {
    const auto partial = fs::path(folder.string() + ".partial");
    fs::remove_all(partial);
    fs::create_directories(partial);
    fs::permissions(partial, fs::perms::owner_all);  // it will hold all customers' data
    const auto dump = partial / k_dump;
    CO_TRY_VOID(run_program(
        {"pg_dump", "--format=custom", "--enable-row-security", "--file=" + dump.string()}, partial,
        false));
    CO_TRY(const auto objects, objects_in(dump, partial));
    json::Array listed, missing;
    std::uint64_t bytes = 0;
    for (const auto& object : objects) {
        CO_TRY(const bool there, co_await save(context, partial, object));
        if (!there) {
            missing.push_back(json::Value(object.key));
            continue;
        }
        bytes += object.size;
        listed.push_back({{"key", object.key}, {"size", object.size}, {"sha256", object.sha256}});
    }
    CO_TRY(const auto dumped, measure(dump));
    const auto count = listed.size();
    CO_TRY_VOID(
        write_file(partial / k_manifest,
                   json::dump({{"format", k_format},
                               {"created_at", base::rfc3339(std::chrono::system_clock::now())},
                               {"schema", embedded_sql().back().name},
                               {"database", {{"size", dumped.size}, {"sha256", dumped.sha256}}},
                               {"objects", std::move(listed)},
                               {"deleted_meanwhile", std::move(missing)}}) +
                       "\n"));
    fs::rename(partial, folder);
    acting.counts = {{"objects", count}, {"object_bytes", bytes}, {"database_bytes", dumped.size}};
    co_return Result<void>{};
}

/// A full disk and the like are errors, not exceptions.
Task<Result<void>> save_or_explain(Context& context, fs::path folder, Acting& acting) {
    try {
        co_return co_await save_all(context, std::move(folder), acting);
    } catch (const fs::filesystem_error& e) {
        co_return fail(ErrorCode::invalid, e.what());
    }
}

Task<Result<void>> backup(Context& context, std::string into) {
    const auto folder = fs::absolute(into);
    if (fs::exists(folder))
        co_return fail(ErrorCode::conflict, fmt::format("{} is there already", folder.string()));
    CO_TRY(const auto counts,
           co_await audited(context, "backup", {{"folder", folder.string()}}, [&](Acting& acting) {
               return save_or_explain(context, folder, acting);
           }));
    if (context.json())
        fmt::print("{}\n", json::dump(counts));
    else
        fmt::print(
            "{}: the database and {} objects. MILLRACE_SECRET_KEY is not in it: keep it "
            "elsewhere.\n",
            folder.string(), counts.at("objects").to_number<std::int64_t>());
    co_return Result<void>{};
}

/// A folder of our own: names in a shared one may be somebody's links.
class Scratch {
 public:
    Scratch() : path_((fs::temp_directory_path() / "millrace-XXXXXX").string()) {
        if (::mkdtemp(path_.data()) == nullptr)
            throw fs::filesystem_error("cannot make", path_,
                                       std::error_code(errno, std::generic_category()));
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    [[nodiscard]] fs::path path() const { return path_; }

 private:
    std::string path_;
};

struct Manifest {
    Stored database;
    std::vector<Stored> objects;
    std::vector<std::string> missing;
};

Result<Manifest> read_manifest(const fs::path& folder) {
    std::ifstream in(folder / k_manifest, std::ios::binary);
    if (!in) return io_failed("cannot read", folder / k_manifest);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto stored = [](const json::Object& object) {
        const auto* key = object.if_contains("key");
        return Stored{.key = key ? std::string(key->as_string()) : std::string(),
                      .sha256 = std::string(object.at("sha256").as_string()),
                      .size = object.at("size").to_number<std::uint64_t>()};
    };
    try {
        const auto root = boost::json::parse(text).as_object();
        if (root.at("format").to_number<int>() != k_format)
            return fail(ErrorCode::invalid, "the backup is of another version of millrace-ops");
        Manifest out{
            .database = stored(root.at("database").as_object()), .objects = {}, .missing = {}};
        for (const auto& object : root.at("objects").as_array())
            out.objects.push_back(stored(object.as_object()));
        for (const auto& key : root.at("deleted_meanwhile").as_array())
            out.missing.emplace_back(key.as_string());
        return out;
    } catch (const std::exception& e) {
        return fail(ErrorCode::invalid,
                    fmt::format("{} is damaged: {}", (folder / k_manifest).string(), e.what()));
    }
}

Result<void> verify_file(const fs::path& path, const Stored& expected) {
    TRY(const auto seen, measure(path));
    if (seen.size == expected.size && seen.sha256 == expected.sha256) return {};
    return fail(ErrorCode::invalid, fmt::format("{} is damaged: its SHA-256 is another than the "
                                                "manifest's",
                                                path.string()));
}

Task<Result<void>> put_back(Context& context, const fs::path& folder, const Stored& object) {
    CO_TRY(auto upload, co_await context.objects().create(object.key));
    std::ifstream in(place_of(folder, object), std::ios::binary);
    std::string buffer(k_buffer, '\0');
    while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
        CO_TRY_VOID(co_await upload->write(
            std::string_view(buffer).substr(0, static_cast<std::size_t>(in.gcount()))));
    }
    CO_TRY(const auto ref, co_await upload->finish());
    if (ref.sha256 != object.sha256)
        co_return fail(ErrorCode::conflict, fmt::format("{} could not be read whole", object.key));
    co_return Result<void>{};
}

Task<Result<void>> restore(Context& context, std::string from, bool force) {
    const auto folder = fs::absolute(from);
    CO_TRY(const auto manifest, read_manifest(folder));
    const Scratch scratch;
    CO_TRY_VOID(verify_file(folder / k_dump, manifest.database));
    for (const auto& object : manifest.objects)
        CO_TRY_VOID(verify_file(place_of(folder, object), object));

    auto& db = context.owner();
    CO_TRY(const auto tables, co_await db.run(postgres::call(k_tables), Deadline::in(k_timeout)));
    if (tables[0].get<std::int64_t>(0) > 0 && !force)
        co_return fail(ErrorCode::conflict,
                       "the database is not empty: --force replaces all that is in it");
    for (const auto& object : manifest.objects)
        CO_TRY_VOID(co_await put_back(context, folder, object));
    // Roles belong to the cluster and are in no dump: the first migration makes them.
    CO_TRY_VOID(co_await db.script(
        fmt::format("DROP SCHEMA public CASCADE; CREATE SCHEMA public; BEGIN; {} ; COMMIT; DROP "
                    "SCHEMA public CASCADE; CREATE SCHEMA public;",
                    embedded_sql().front().text),
        Deadline::in(k_timeout)));
    CO_TRY(const auto names, postgres::environment_of([] {
               config::Loader loader;
               return loader.required("MILLRACE_PG_ADMIN_DSN", "");
           }()));
    std::string database;
    for (const auto& [name, value] : names)
        if (name == "PGDATABASE") database = value;
    CO_TRY_VOID(
        run_program({"pg_restore", "--exit-on-error", "--no-owner", "--clean", "--if-exists",
                     "--single-transaction", "--dbname=" + database, (folder / k_dump).string()},
                    scratch.path(), false));
    if (!manifest.missing.empty()) {
        CO_TRY_VOID(co_await db.run(postgres::call(k_forget_files, manifest.missing),
                                    Deadline::in(k_timeout)));
    }
    CO_TRY(const auto open, co_await db.run(postgres::call(k_requeue), Deadline::in(k_timeout)));
    const json::Object counts{{"objects", manifest.objects.size()},
                              {"unfinished_jobs", open[0].get<std::int64_t>(0)}};
    CO_TRY_VOID(co_await audit_done(db, context, "restore", {{"folder", folder.string()}}, counts));
    if (context.json())
        fmt::print("{}\n", json::dump(counts));
    else
        fmt::print(
            "restored, with {} objects; {} unfinished jobs are announced again. Now: "
            "millrace-ops migrate, topics apply, verify jobs, verify audit\n",
            manifest.objects.size(), open[0].get<std::int64_t>(0));
    co_return Result<void>{};
}

}  // namespace

void add_backup(CLI::App& app, Context& context, Run& run) {
    auto folder = std::make_shared<std::string>();
    auto* saved = app.add_subcommand("backup", "The database and its objects into a new folder");
    saved->add_option("folder", *folder, "must not exist yet")->required();
    saved->callback([&context, &run, folder] {
        run = [&context, folder] { return backup(context, *folder); };
    });
    auto force = std::make_shared<bool>(false);
    auto* restored = app.add_subcommand(
        "restore", "A backup into an empty database and store; nothing may run meanwhile");
    restored->add_option("folder", *folder, "what backup made")->required();
    restored->add_flag("--force", *force, "replace what the database holds");
    restored->callback([&context, &run, folder, force] {
        run = [&context, folder, force] { return restore(context, *folder, *force); };
    });
}

}  // namespace millrace::workers::ops
