// The searcher and the vectors in PostgreSQL: the same is found in memory and through an index,
// filters cost nothing, nothing of another tenant or of an unpublished generation comes up, and
// writers do not disturb each other.

#include "shared/domain/knowledge/search.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>

#include "shared/domain/knowledge/files.hpp"
#include "tests/support/env.hpp"
#include "tests/support/kafka_loop.hpp"
#include "workers/ops/embedded_sql.hpp"

using namespace std::chrono_literals;
using namespace millrace;
namespace knowledge = domain::knowledge;
namespace vector = providers::vector;
using base::FileId;
using base::TenantId;
using knowledge::Searcher;
using Names = std::set<std::pair<FileId, std::int32_t>>;

namespace {

constexpr std::size_t k_dimensions = 24;

const postgres::Statement k_count{"test_vectors", R"sql(
SELECT count(*), count(DISTINCT (v.file_id, v.generation, v.chunk_index)) FROM chunk_vectors v WHERE v.file_id = $1)sql"};

Deadline soon() {
    return Deadline::in(30s);
}
template <class T>
T must(Result<T> result) {
    REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().detail + result.error().log));
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

std::vector<float> random_vector(std::mt19937& random) {
    std::normal_distribution<float> any;
    std::vector<float> out(k_dimensions);
    for (auto& value : out) value = any(random);
    return vector::normalized(std::move(out));
}

/// A database that goes when the test does, with every migration applied.
struct Bench {
    tests::Loop loop{};
    std::string server = tests::require_env("MILLRACE_PG_DSN");
    std::string name = "search_" + base::uuid_v7().str();
    std::unique_ptr<postgres::Database> admin, owner, app;
    std::mt19937 random{11};

    Bench() {
        std::ranges::replace(name, '-', '_');
        admin = open(server, "");
        script(*admin, "CREATE DATABASE " + name);
        auto dsn = server;
        const auto query = std::min(dsn.find('?'), dsn.size());
        const auto slash = dsn.rfind('/', query);
        dsn.replace(slash + 1, query - slash - 1, name);
        owner = open(dsn, "");
        for (const auto& file : workers::ops::embedded_sql())
            script(*owner, std::string(file.text));
        app = open(dsn, "millrace_app");
    }
    ~Bench() {
        loop.run(app->close());
        loop.run(owner->close());
        CHECK(
            loop.run(admin->script("DROP DATABASE " + name + " WITH (FORCE)", soon())).has_value());
        loop.run(admin->close());
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    std::unique_ptr<postgres::Database> open(std::string dsn, std::string role) {
        auto db = postgres::make_database(loop.executor(), {.dsn = std::move(dsn),
                                                            .role = std::move(role),
                                                            .application_name = "search_test",
                                                            .statement_timeout = 30s});
        must(loop.run(db->wait_connected(soon())));
        return db;
    }
    void script(postgres::Database& db, std::string sql) {
        must(loop.run(db.script(std::move(sql), soon())));
    }

    TenantId tenant() {
        const auto id = TenantId::make();
        script(*owner, "INSERT INTO tenants (id, name) VALUES ('" + id.str() + "', 'x')");
        return id;
    }
    FileId file(TenantId tenant, const std::string& tags = "", const std::string& type = "txt") {
        const auto id = FileId::make();
        script(*owner,
               "INSERT INTO files (id, tenant_id, uploaded_by, file_name, file_type, title, tags, "
               "file_size, object_key, sha256, job_id) VALUES ('" +
                   id.str() + "', '" + tenant.str() + "', '" + tenant.str() + "', 'a', '" + type +
                   "', '', '{" + tags + "}', 1, '" + id.str() + "', '', '" + tenant.str() + "')");
        return id;
    }
    /// Stages `chunks` with vectors; published unless told otherwise. The generation.
    std::int64_t fill(vector::Store& store, TenantId tenant, FileId id, int chunks,
                      bool publish = true) {
        knowledge::Files files(*app);
        const auto generation = must(loop.run(files.next_generation(soon())));
        std::vector<knowledge::StagedChunk> staged;
        std::vector<vector::Record> records;
        for (int c = 0; c < chunks; ++c) {
            staged.push_back(
                {c, 1, 1, "word", knowledge::encode_terms(knowledge::count_terms("word"))});
            records.push_back({c, random_vector(random)});
        }
        must(loop.run(files.stage(tenant, id, generation, std::move(staged), soon())));
        must(loop.run(store.upsert(tenant, id, generation, std::move(records), soon())));
        if (publish) {
            auto calls = knowledge::publish_generation(tenant, id, generation, chunks);
            calls.insert(calls.begin(), postgres::set_tenant(tenant));
            must(loop.run(app->transaction(std::move(calls), soon())));
        }
        return generation;
    }
    Names search(Searcher& searcher, knowledge::SearchQuery query) {
        Names out;
        for (const auto& hit : must(loop.run(searcher.search(std::move(query), soon()))).hits)
            out.insert({hit.file, hit.chunk_index});
        return out;
    }
};

}  // namespace

TEST_CASE("memory and an index find the same, with and without filters, of live chunks only") {
    Bench bench;
    const auto memory = vector::make_pgvector(*bench.app);
    const auto tenant = bench.tenant(), other = bench.tenant();
    std::set<FileId> ours;
    FileId rare;
    for (int i = 0; i < 30; ++i) {
        const auto id = bench.file(tenant, i == 7 ? "rare" : "common", i % 2 == 0 ? "pdf" : "txt");
        if (i == 7) rare = id;
        ours.insert(id);
        bench.fill(*memory, tenant, id, 10);
        bench.fill(*memory, tenant, id, 10, false);  // staged, by an attempt that never ended
        bench.fill(*memory, other, bench.file(other, "rare"), 10);
    }
    for (const auto id : {tenant, other})
        bench.script(*bench.owner, "DO $$ BEGIN EXECUTE replace(vector_index_ddl('" + id.str() +
                                       "', 24), 'CONCURRENTLY', ''); END $$");
    const auto indexed = vector::make_pgvector(*bench.app, {.index_above = 100});
    Searcher exact(bench.loop.executor(), *bench.app, *memory, {.words_weight = 0});
    Searcher quick(bench.loop.executor(), *bench.app, *indexed, {.words_weight = 0});
    std::size_t same = 0;
    for (int i = 0; i < 100; ++i) {
        const knowledge::SearchQuery query{
            .tenant = tenant, .vector = random_vector(bench.random), .limit = 10};
        const auto a = bench.search(exact, query), b = bench.search(quick, query);
        REQUIRE(a.size() == 10);
        REQUIRE(b.size() == 10);
        for (const auto& one : b) {
            CHECK(ours.contains(one.first));
            same += a.contains(one) ? 1U : 0U;
        }
    }
    CHECK(same >= 950);
    for (auto* searcher : {&exact, &quick}) {
        knowledge::SearchQuery query{
            .tenant = tenant, .vector = random_vector(bench.random), .limit = 50};
        query.filter.tags = {"rare", "unknown"};
        const auto few = bench.search(*searcher, query);
        CHECK(few.size() == 10);
        for (const auto& one : few) CHECK(one.first == rare);
        query.filter.types = {"pdf"};
        CHECK(bench.search(*searcher, query).empty());
        query.filter = {.files = {rare, *ours.begin()}, .tags = {}, .types = {}};
        CHECK(bench.search(*searcher, query).size() == 20);
        query.filter = {.files = {}, .tags = {}, .types = {"pdf"}};
        CHECK(bench.search(*searcher, query).size() == 50);
    }
}

TEST_CASE("a replaced document is found as it is now, a deleted one not at all") {
    Bench bench;
    const auto store = vector::make_pgvector(*bench.app);
    const auto tenant = bench.tenant();
    const auto first = bench.file(tenant), second = bench.file(tenant);
    bench.fill(*store, tenant, first, 5);
    bench.fill(*store, tenant, second, 5);
    Searcher searcher(bench.loop.executor(), *bench.app, *store);
    const knowledge::SearchQuery query{
        .tenant = tenant, .question = "word", .vector = random_vector(bench.random), .limit = 100};
    CHECK(bench.search(searcher, query).size() == 10);
    bench.fill(*store, tenant, first, 3);
    CHECK(bench.search(searcher, query).size() == 8);
    must(bench.loop.run(knowledge::Files(*bench.app).remove(tenant, second, soon())));
    const auto left = bench.search(searcher, query);
    CHECK(left.size() == 3);
    for (const auto& one : left) CHECK(one.first == first);
}

TEST_CASE("a building generation is searched as if it were live, and what is live as before") {
    Bench bench;
    const auto store = vector::make_pgvector(*bench.app);
    const auto tenant = bench.tenant();
    const auto id = bench.file(tenant), fresh = bench.file(tenant);
    bench.fill(*store, tenant, id, 4);
    const auto index_generation = base::uuid_v7();
    bench.script(*bench.owner, "INSERT INTO index_generations (id, tenant_id, status) VALUES ('" +
                                   index_generation.str() + "', '" + tenant.str() +
                                   "', 'building')");
    const auto add = [&](FileId file, int chunks) {
        const auto generation = bench.fill(*store, tenant, file, chunks, false);
        bench.script(*bench.owner, "INSERT INTO generation_files VALUES ('" +
                                       index_generation.str() + "', '" + file.str() + "', '" +
                                       tenant.str() + "', NULL, " + std::to_string(generation) +
                                       ", " + std::to_string(chunks) + ")");
    };
    add(id, 7);
    Searcher searcher(bench.loop.executor(), *bench.app, *store);
    for (const bool meaning : {false, true}) {
        knowledge::SearchQuery query{.tenant = tenant, .question = "word", .limit = 100};
        if (meaning) query.vector = random_vector(bench.random);
        CHECK(bench.search(searcher, query).size() == 4);
        query.index_generation = index_generation;
        CHECK(bench.search(searcher, query).size() == (meaning ? 12 : 7));
        query.filter.files = {fresh};
        CHECK(bench.search(searcher, query).size() == (meaning ? 5 : 0));
        if (!meaning) add(fresh, 5);
        query.index_generation = base::uuid_v7();
        CHECK(bench.search(searcher, query).empty());
    }
}

TEST_CASE("vectors of other dimensions are left out, not mixed up") {
    Bench bench;
    const auto store = vector::make_pgvector(*bench.app);
    const auto tenant = bench.tenant();
    const auto id = bench.file(tenant);
    bench.fill(*store, tenant, id, 5);
    Searcher searcher(bench.loop.executor(), *bench.app, *store);
    knowledge::SearchQuery query{.tenant = tenant, .vector = {1, 0, 0}, .limit = 10};
    CHECK(bench.search(searcher, query).empty());
    query.vector = random_vector(bench.random);
    CHECK(bench.search(searcher, query).size() == 5);
}

TEST_CASE("eight writers of one document at once, and one who deletes it") {
    Bench bench;
    const auto store = vector::make_pgvector(*bench.app);
    const auto tenant = bench.tenant();
    const auto id = bench.file(tenant);
    constexpr int k_writers = 8, k_chunks = 40;
    const auto generation = bench.fill(*store, tenant, id, k_chunks);
    std::vector<std::unique_ptr<postgres::Database>> databases;
    std::vector<std::unique_ptr<vector::Store>> stores;
    for (int w = 0; w < k_writers; ++w) {
        auto dsn = bench.server;
        dsn.replace(dsn.rfind('/') + 1, std::string::npos, bench.name);
        databases.push_back(bench.open(dsn, "millrace_app"));
        stores.push_back(vector::make_pgvector(*databases.back()));
    }
    const auto all_at_once = [&](bool with_removals) {
        int running = 0;
        std::vector<Error> failures;
        for (int w = 0; w < k_writers; ++w) {
            std::vector<vector::Record> records;
            for (int c = 0; c < k_chunks; ++c)
                records.push_back({(c + w * 5) % k_chunks, random_vector(bench.random)});
            auto& writer = *stores[static_cast<std::size_t>(w)];
            auto task = with_removals && w % 2 == 1
                            ? writer.remove(tenant, id, generation, soon())
                            : writer.upsert(tenant, id, generation, std::move(records), soon());
            ++running;
            asio::co_spawn(bench.loop.executor(), std::move(task),
                           [&](const std::exception_ptr& thrown, const Result<void>& done) {
                               --running;
                               CHECK(!thrown);
                               if (!done) failures.push_back(done.error());
                           });
        }
        CHECK(bench.loop.until([&] { return running == 0; }, 30s));
        return failures;
    };
    for (int round = 0; round < 10; ++round) CHECK(all_at_once(round % 2 == 1).empty());
    CHECK(all_at_once(false).empty());
    const auto counted = [&] {
        const auto rows =
            must(bench.loop.run(bench.owner->run(postgres::call(k_count, id), soon())));
        CHECK(rows[0].get<std::int64_t>(0) == rows[0].get<std::int64_t>(1));
        return rows[0].get<std::int64_t>(0);
    };
    CHECK(counted() == k_chunks);
    must(bench.loop.run(knowledge::Files(*bench.app).remove(tenant, id, soon())));
    CHECK(counted() == 0);
    for (const auto& failure : all_at_once(false)) CHECK(failure.code == ErrorCode::not_found);
    CHECK(counted() == 0);
    for (auto& database : databases) bench.loop.run(database->close());
}
