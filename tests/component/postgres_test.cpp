// shared/postgres against a real server. Each test has a schema of its own, and removes it.

#include "shared/postgres/postgres.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "shared/base/uuid.hpp"
#include "tests/support/env.hpp"
#include "tests/support/kafka_loop.hpp"
#include "tests/support/tcp_proxy.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using millrace::tests::Loop;
using millrace::tests::TcpProxy;
using postgres::call;
using postgres::Statement;

namespace {

using Clock = std::chrono::steady_clock;
using Rows = Result<postgres::Rows>;
using DatabasePtr = std::unique_ptr<postgres::Database>;

const Statement k_pid{"test_pid", "SELECT pg_backend_pid()"};
const Statement k_echo{"test_echo", "SELECT $1::bigint, nextval('numbers')"};
const Statement k_sleep{"test_sleep", "SELECT pg_sleep($1)::text"};
const Statement k_insert{"test_insert", "INSERT INTO things (id, name) VALUES ($1, $2)"};
const Statement k_count{"test_count", "SELECT count(*) FROM things WHERE id = $1"};
const Statement k_divide{"test_divide", "SELECT 1 / $1::integer"};

/// A loop, a schema that goes when the test does, and databases on it.
struct Bench {
    std::string dsn = tests::require_env("MILLRACE_PG_DSN");
    std::string schema = "test_" + base::uuid_v7().str();
    Loop loop{};
    std::vector<std::string> told{};
    std::vector<DatabasePtr> databases{};

    Bench() {
        std::ranges::replace(schema, '-', '_');
        auto& db = connect();
        script(db, "CREATE SCHEMA " + schema);
        script(db,
               "CREATE TABLE things (id bigint CONSTRAINT things_one_each PRIMARY KEY, name text "
               "NOT NULL CHECK (name <> '')); "
               "CREATE SEQUENCE numbers");
    }
    ~Bench() {
        (void)loop.run(
            databases.front()->script("DROP SCHEMA " + schema + " CASCADE", Deadline::in(10s)));
        for (auto& db : databases) loop.run(db->close());
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    postgres::Options options(const TcpProxy* proxy = nullptr) {
        return {.dsn = proxy ? tests::ServerUrl::parse(dsn).at(proxy->port()) : dsn,
                .application_name = "postgres_test",
                .settings = {{"search_path", schema}},
                .on_event = [this](std::string text) { told.push_back(std::move(text)); }};
    }
    postgres::Database& open(postgres::Options with) {
        databases.push_back(postgres::make_database(loop.executor(), std::move(with)));
        return *databases.back();
    }
    postgres::Database& connect(const TcpProxy* proxy = nullptr) {
        auto& db = open(options(proxy));
        const auto connected = loop.run(db.wait_connected(Deadline::in(10s)));
        REQUIRE_MESSAGE(connected.has_value(), connected.error().log);
        return db;
    }
    TcpProxy proxy() { return {loop.executor(), tests::ServerUrl::parse(dsn)}; }

    void script(postgres::Database& db, const std::string& sql) {
        const auto done = loop.run(db.script(sql, Deadline::in(10s)));
        REQUIRE_MESSAGE(done.has_value(), done.error().log);
    }
    Rows run(postgres::Database& db, postgres::Call what, std::chrono::milliseconds within = 10s) {
        return loop.run(db.run(std::move(what), Deadline::in(within)));
    }
    postgres::Rows get(postgres::Database& db, postgres::Call what) {
        auto rows = run(db, std::move(what));
        REQUIRE_MESSAGE(rows.has_value(), rows.error().log);
        return std::move(*rows);
    }
    int pid(postgres::Database& db) { return get(db, call(k_pid))[0].get<std::int32_t>(0); }
    std::int64_t count(std::int64_t id) {
        return get(*databases.front(), call(k_count, id))[0].get<std::int64_t>(0);
    }
};

/// A call under way.
template <class T>
struct Running {
    std::optional<T> value{};
    Clock::time_point ended{};
};
template <class T>
std::shared_ptr<Running<T>> start(Loop& loop, Task<T> task) {
    auto running = std::make_shared<Running<T>>();
    asio::co_spawn(loop.executor(), std::move(task), [running](std::exception_ptr thrown, T value) {
        if (thrown) std::rethrow_exception(thrown);
        running->value.emplace(std::move(value));
        running->ended = Clock::now();
    });
    return running;
}

const base::Error& error_of(const auto& result) {
    REQUIRE_FALSE(result.has_value());
    return result.error();
}

}  // namespace

TEST_CASE("every type goes there and comes back") {
    Bench bench;
    auto& db = *bench.databases.front();
    const auto round = [&]<class Out>(const Statement& statement, const auto& value,
                                      std::type_identity<Out>) {
        return bench.get(db, call(statement, value))[0].template get<Out>(0);
    };
    const auto id = base::uuid_v7();
    const base::WallTime when(std::chrono::microseconds(1'700'000'000'123'456));
    const base::WallTime before_1970(std::chrono::microseconds(-1));
    const std::string binary("\0\xff\\x\n\0", 6);

    static const Statement boolean{"test_boolean", "SELECT $1::boolean"};
    CHECK(round(boolean, true, std::type_identity<bool>{}));
    CHECK_FALSE(round(boolean, false, std::type_identity<bool>{}));

    static const Statement small{"test_small", "SELECT $1::smallint"};
    for (const std::int16_t v : {std::int16_t{0}, std::int16_t{-32768}, std::int16_t{32767}}) {
        CHECK(round(small, v, std::type_identity<std::int16_t>{}) == v);
    }
    static const Statement integer{"test_integer", "SELECT $1::integer"};
    for (const std::int32_t v : {0, -1, std::numeric_limits<std::int32_t>::min(),
                                 std::numeric_limits<std::int32_t>::max()}) {
        CHECK(round(integer, v, std::type_identity<std::int32_t>{}) == v);
        CHECK(round(integer, v, std::type_identity<std::int64_t>{}) == v);
    }
    static const Statement bigint{"test_bigint", "SELECT $1::bigint"};
    for (const std::int64_t v : {std::int64_t{0}, std::numeric_limits<std::int64_t>::min(),
                                 std::numeric_limits<std::int64_t>::max()}) {
        CHECK(round(bigint, v, std::type_identity<std::int64_t>{}) == v);
    }
    static const Statement real{"test_double", "SELECT $1::double precision"};
    for (const double v : {0.0, -1.5, 1e308, 5e-324})
        CHECK(round(real, v, std::type_identity<double>{}) == v);
    static const Statement single{"test_real", "SELECT $1::real"};
    CHECK(round(single, 0.25, std::type_identity<double>{}) == 0.25);

    static const Statement text{"test_text", "SELECT $1::text"};
    for (const std::string v : {"", "plain", "Grüße, 世界 🙂", "'; DROP TABLE things; --"}) {
        CHECK(round(text, v, std::type_identity<std::string>{}) == v);
    }
    CHECK(round(text, std::string(1 << 20, 'x'), std::type_identity<std::string>{}).size() ==
          1 << 20);
    static const Statement bytea{"test_bytea", "SELECT $1::bytea"};
    CHECK(round(bytea, postgres::Bytes{binary}, std::type_identity<std::string>{}) == binary);
    CHECK(round(bytea, postgres::Bytes{""}, std::type_identity<std::string>{}).empty());
    static const Statement jsonb{"test_jsonb", "SELECT $1::jsonb, $1::jsonb ->> 'a'"};
    const auto json = bench.get(db, call(jsonb, postgres::Jsonb{R"({"a":"ü"})"}));
    CHECK(json[0].get<std::string>(0) == R"({"a": "ü"})");
    CHECK(json[0].get<std::string_view>(1) == "ü");
    static const Statement uuid{"test_uuid", "SELECT $1::uuid, $1::text"};
    CHECK(round(uuid, id, std::type_identity<base::Uuid>{}) == id);
    CHECK(round(uuid, base::JobId{id}, std::type_identity<base::JobId>{}) == base::JobId{id});
    CHECK(bench.get(db, call(uuid, id))[0].get<std::string>(1) == id.str());
    static const Statement stamp{
        "test_stamp",
        "SELECT $1::timestamptz, to_char($1::timestamptz, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"};
    for (const auto v : {when, before_1970, base::WallTime{}})
        CHECK(round(stamp, v, std::type_identity<base::WallTime>{}) == v);
    CHECK(bench.get(db, call(stamp, when))[0].get<std::string>(1) == "2023-11-14T22:13:20.123456");
}

TEST_CASE("arrays go there and come back") {
    Bench bench;
    auto& db = *bench.databases.front();
    const auto id = base::uuid_v7(), other = base::uuid_v7();
    const std::string binary("a\0b", 3);

    static const Statement uuids{"test_uuids", "SELECT $1::uuid[]"};
    CHECK(bench.get(db, call(uuids, std::vector{id, other}))[0].get<std::vector<base::Uuid>>(0) ==
          std::vector{id, other});
    CHECK(bench.get(db, call(uuids, std::vector<base::Uuid>{}))[0]
              .get<std::vector<base::Uuid>>(0)
              .empty());
    static const Statement texts{"test_texts", "SELECT $1::text[]"};
    const std::vector<std::string> words = {"", "{a,\"b\"}", "NULL", "ü"};
    CHECK(bench.get(db, call(texts, words))[0].get<std::vector<std::string>>(0) == words);
    static const Statement integers{"test_integers", "SELECT $1::integer[]"};
    const std::vector<std::int32_t> numbers = {0, -1, std::numeric_limits<std::int32_t>::min()};
    CHECK(bench.get(db, call(integers, numbers))[0].get<std::vector<std::int32_t>>(0) == numbers);
    static const Statement reals{"test_reals", "SELECT $1::real[]"};
    const std::vector<float> weights = {0.5F, -1.25F, std::numeric_limits<float>::max()};
    CHECK(bench.get(db, call(reals, weights))[0].get<std::vector<float>>(0) == weights);

    // Those that go only one way: the server says what came, in order and with every NULL.
    const auto said = [&](const Statement& statement, const auto& values) {
        return bench.get(db, call(statement, values))[0].template get<std::string>(0);
    };
    static const Statement s_bools{"test_s_bools", "SELECT $1::boolean[]::text"};
    CHECK(said(s_bools, std::vector<bool>{true, false, true}) == "{t,f,t}");
    CHECK(said(s_bools, std::vector<bool>{}) == "{}");
    static const Statement s_small{"test_s_small", "SELECT $1::smallint[]::text"};
    CHECK(said(s_small, std::vector<std::int16_t>{-1, 2}) == "{-1,2}");
    static const Statement s_big{"test_s_big", "SELECT $1::bigint[]::text"};
    CHECK(said(s_big, std::vector<std::int64_t>{1, -9'000'000'000}) == "{1,-9000000000}");
    static const Statement s_double{"test_s_double", "SELECT $1::double precision[]::text"};
    CHECK(said(s_double, std::vector<double>{0.5, -1e10}) == "{0.5,-10000000000}");
    static const Statement s_text{"test_s_text", "SELECT $1::text[]::text"};
    CHECK(said(s_text, std::vector<std::optional<std::string>>{"a", std::nullopt, ""}) ==
          R"({a,NULL,""})");
    static const Statement s_bytes{"test_s_bytes", "SELECT $1::bytea[]::text"};
    CHECK(said(s_bytes, std::vector<postgres::Bytes>{{binary}}) == R"({"\\x610062"})");
    static const Statement s_bytes_null{"test_s_bytes_null", "SELECT $1::bytea[]::text"};
    CHECK(
        said(s_bytes_null, std::vector<std::optional<postgres::Bytes>>{
                               std::nullopt, postgres::Bytes{binary}}) == R"({NULL,"\\x610062"})");
    static const Statement s_uuid_null{"test_s_uuid_null", "SELECT $1::uuid[]::text"};
    CHECK(said(s_uuid_null, std::vector<std::optional<base::Uuid>>{id, std::nullopt}) ==
          "{" + id.str() + ",NULL}");
    static const Statement s_stamps{"test_s_stamps", "SELECT $1::timestamptz[]::text"};
    CHECK(said(s_stamps, std::vector<base::WallTime>{base::WallTime{}}) ==
          R"({"1970-01-01 00:00:00+00"})");
}

TEST_CASE("NULL in both directions, several rows, rows affected, no rows") {
    Bench bench;
    auto& db = *bench.databases.front();
    static const Statement nulls{"test_nulls",
                                 "SELECT $1::bigint, $2::text, $3::uuid[], $4::bytea IS NULL"};
    const auto rows = bench.get(
        db, call(nulls, std::nullopt, std::optional<std::string>(), std::nullopt, std::nullopt));
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].is_null(0));
    CHECK(rows[0].get<std::optional<std::int64_t>>(0) == std::nullopt);
    CHECK(rows[0].get<std::optional<std::string>>(1) == std::nullopt);
    CHECK_FALSE(rows[0].get<std::optional<std::vector<base::Uuid>>>(2).has_value());
    CHECK(rows[0].get<bool>(3));
    const auto present = bench.get(db, call(nulls, std::int64_t{7}, std::optional<std::string>("x"),
                                            std::nullopt, postgres::Bytes{"y"}));
    CHECK(present[0].get<std::optional<std::int64_t>>(0) == 7);
    CHECK(present[0].get<std::optional<std::string>>(1) == "x");
    CHECK_FALSE(present[0].get<bool>(3));

    for (std::int64_t i = 0; i < 3; ++i)
        CHECK(bench.get(db, call(k_insert, i, "n")).affected() == 1);
    static const Statement all{"test_all", "SELECT id FROM things ORDER BY id DESC"};
    const auto things = bench.get(db, call(all));
    REQUIRE(things.size() == 3);
    CHECK(things[0].get<std::int64_t>(0) == 2);
    CHECK(things[2].get<std::int64_t>(0) == 0);
    static const Statement remove{"test_remove", "DELETE FROM things WHERE id < $1"};
    CHECK(bench.get(db, call(remove, std::int64_t{2})).affected() == 2);
    CHECK(bench.get(db, call(remove, std::int64_t{2})).affected() == 0);
    CHECK(bench.get(db, call(remove, std::int64_t{2})).empty());
}

TEST_CASE(
    "an absent optional has its type: a statement prepared with NULL serves values of that type "
    "too") {
    Bench bench;
    auto& db = *bench.databases.front();
    static const Statement wide{"test_wide", "SELECT $1::bigint"};
    CHECK(bench.get(db, call(wide, std::optional<std::int32_t>()))[0].is_null(0));
    const auto second = bench.run(db, call(wide, std::optional<std::int32_t>(-2)));
    REQUIRE_MESSAGE(second.has_value(), second.error().log);
    CHECK((*second)[0].get<std::int64_t>(0) == -2);
}

TEST_CASE("SQLSTATE and constraint name an error; its code says what to do") {
    Bench bench;
    auto& db = *bench.databases.front();
    bench.get(db, call(k_insert, std::int64_t{1}, "a"));

    const auto twice = bench.run(db, call(k_insert, std::int64_t{1}, "b"));
    CHECK(error_of(twice).code == ErrorCode::conflict);
    CHECK(twice.error().source == "23505:things_one_each");
    CHECK(postgres::is_sqlstate(twice.error(), "23505"));
    CHECK(postgres::is_sqlstate(twice.error(), "23505", "things_one_each"));
    CHECK_FALSE(postgres::is_sqlstate(twice.error(), "23505", "another"));
    CHECK_FALSE(postgres::is_ambiguous(twice.error()));

    const auto empty = bench.run(db, call(k_insert, std::int64_t{2}, ""));
    CHECK(error_of(empty).code == ErrorCode::invalid);
    CHECK(empty.error().source == "23514:things_name_check");
    const auto divided = bench.run(db, call(k_divide, 0));
    CHECK(error_of(divided).code == ErrorCode::invalid);
    CHECK(divided.error().source == "22012");
    static const Statement wrong{"test_wrong", "SELECT nothing FROM nowhere"};
    const auto absent = bench.run(db, call(wrong));
    CHECK(error_of(absent).code == ErrorCode::internal);
    CHECK(absent.error().source == "42P01");
    CHECK(bench.run(db, call(k_pid)).has_value());
}

TEST_CASE(
    "many calls share one connection: they go out without waiting for each other and run in their "
    "order") {
    Bench bench;
    auto proxy = bench.proxy();
    auto& db = bench.connect(&proxy);
    const auto first = start(bench.loop, db.run(call(k_sleep, 0.5), Deadline::in(10s)));
    REQUIRE(bench.loop.until(
        [&, before = proxy.bytes_to_server()] { return proxy.bytes_to_server() > before; }));

    const auto sent = proxy.bytes_to_server();
    std::vector<std::shared_ptr<Running<Rows>>> calls;
    for (std::int64_t i = 0; i < 1000; ++i)
        calls.push_back(start(bench.loop, db.run(call(k_echo, i), Deadline::in(20s))));
    REQUIRE(bench.loop.until([&] { return proxy.bytes_to_server() > sent + 1000 * 20; }));
    CHECK_FALSE(first->value.has_value());

    REQUIRE(bench.loop.until([&] {
        return std::ranges::all_of(calls, [](const auto& c) { return c->value.has_value(); });
    }));
    CHECK(first->value->has_value());
    for (std::size_t i = 0; i < calls.size(); ++i) {
        REQUIRE(calls[i]->value->has_value());
        const auto row = (**calls[i]->value)[0];
        REQUIRE(row.get<std::int64_t>(0) == static_cast<std::int64_t>(i));
        REQUIRE(row.get<std::int64_t>(1) == static_cast<std::int64_t>(i) + 1);
    }
    CHECK(proxy.accepted() == 1);
}

TEST_CASE("answers of many megabytes and parameters of many megabytes do not block each other") {
    Bench bench;
    auto& db = *bench.databases.front();
    static const Statement mirror{"test_mirror", "SELECT $1::text"};
    std::vector<std::shared_ptr<Running<Rows>>> calls;
    for (char c = 'a'; c < 'i'; ++c)
        calls.push_back(
            start(bench.loop, db.run(call(mirror, std::string(4 << 20, c)), Deadline::in(30s))));
    REQUIRE(bench.loop.until(
        [&] {
            return std::ranges::all_of(calls, [](const auto& c) { return c->value.has_value(); });
        },
        30s));
    for (std::size_t i = 0; i < calls.size(); ++i) {
        REQUIRE(calls[i]->value->has_value());
        CHECK((**calls[i]->value)[0].get<std::string_view>(0) ==
              std::string(4 << 20, static_cast<char>('a' + i)));
    }
}

TEST_CASE("transaction(): all or nothing, in one") {
    Bench bench;
    auto& db = *bench.databases.front();
    const auto both = bench.loop.run(
        db.transaction({call(k_insert, std::int64_t{1}, "a"), call(k_insert, std::int64_t{2}, "b"),
                        call(k_count, std::int64_t{1})},
                       Deadline::in(10s)));
    REQUIRE_MESSAGE(both.has_value(), both.error().log);
    REQUIRE(both->size() == 3);
    CHECK((*both)[0].affected() == 1);
    CHECK((*both)[2][0].get<std::int64_t>(0) == 1);
    CHECK(bench.count(1) == 1);

    const auto failed = bench.loop.run(db.transaction(
        {call(k_insert, std::int64_t{3}, "c"), call(k_insert, std::int64_t{1}, "again"),
         call(k_insert, std::int64_t{4}, "d")},
        Deadline::in(10s)));
    CHECK(error_of(failed).source == "23505:things_one_each");
    CHECK(bench.count(3) == 0);
    CHECK(bench.count(4) == 0);
}

TEST_CASE("an error in one transaction does not touch its pipeline neighbours") {
    Bench bench;
    auto& db = *bench.databases.front();
    std::vector<std::shared_ptr<Running<Result<std::vector<postgres::Rows>>>>> calls;
    for (std::int64_t i = 0; i < 200; ++i) {
        std::vector<postgres::Call> batch{call(k_insert, i, "n")};
        if (i % 3 == 1) batch.push_back(call(k_divide, 0));
        batch.push_back(call(k_count, i));
        calls.push_back(start(bench.loop, db.transaction(std::move(batch), Deadline::in(20s))));
    }
    REQUIRE(bench.loop.until([&] {
        return std::ranges::all_of(calls, [](const auto& c) { return c->value.has_value(); });
    }));
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const auto id = static_cast<std::int64_t>(i);
        const auto& result = *calls[i]->value;
        if (i % 3 == 1) {
            REQUIRE(error_of(result).source == "22012");
            REQUIRE(bench.count(id) == 0);
        } else {
            REQUIRE_MESSAGE(result.has_value(), result.error().log);
            REQUIRE((*result)[1][0].get<std::int64_t>(0) == 1);
            REQUIRE(bench.count(id) == 1);
        }
    }
}

TEST_CASE("a statement whose Parse fell to a neighbour's error is prepared again") {
    Bench bench;
    auto& db = *bench.databases.front();
    static const Statement fresh{"test_fresh", "SELECT 'fresh'"};
    // 1 fails before its Parse of `fresh`; 2 finds it unknown at once, 3 only after 2 has prepared
    // it anew.
    const auto one =
        start(bench.loop, db.transaction({call(k_divide, 0), call(fresh)}, Deadline::in(10s)));
    const auto two = start(bench.loop, db.transaction({call(fresh)}, Deadline::in(10s)));
    const auto three =
        start(bench.loop, db.transaction({call(k_sleep, 0.3), call(fresh)}, Deadline::in(10s)));
    REQUIRE(bench.loop.until([&] { return one->value && two->value && three->value; }));
    CHECK(error_of(*one->value).source == "22012");
    REQUIRE_MESSAGE(two->value->has_value(), two->value->error().log);
    REQUIRE_MESSAGE(three->value->has_value(), three->value->error().log);
    CHECK((**three->value)[1][0].get<std::string>(0) == "fresh");
    CHECK(bench.run(db, call(fresh)).has_value());

    // The same with several of them, and without a wrong answer or an effect that comes twice.
    static const Statement x{"test_x", "SELECT 'x'"}, y{"test_y", "SELECT 'y'"},
        z{"test_z", "SELECT 'z'"};
    const auto bad =
        start(bench.loop,
              db.transaction({call(k_divide, 0), call(x), call(y), call(z)}, Deadline::in(10s)));
    std::vector<std::remove_const_t<decltype(two)>> good;
    for (std::int64_t i = 0; i < 4; ++i) {
        good.push_back(start(bench.loop, db.transaction({call(k_sleep, 0.1), call(k_insert, i, "n"),
                                                         call(z), call(y), call(x)},
                                                        Deadline::in(10s))));
    }
    REQUIRE(bench.loop.until([&] {
        return std::ranges::all_of(good, [](const auto& g) { return g->value.has_value(); });
    }));
    CHECK_FALSE(bad->value->has_value());
    for (const auto& each : good) {
        REQUIRE_MESSAGE(each->value->has_value(), each->value->error().log);
        CHECK((**each->value)[2][0].get<std::string>(0) == "z");
        CHECK((**each->value)[4][0].get<std::string>(0) == "x");
    }
    for (std::int64_t i = 0; i < 4; ++i) CHECK(bench.count(i) == 1);
}

TEST_CASE("begin(): commits when told, rolls back when destroyed, and after an error") {
    Bench bench;
    auto& db = *bench.databases.front();
    const auto begin = [&] {
        auto transaction = bench.loop.run(db.begin(Deadline::in(10s)));
        REQUIRE_MESSAGE(transaction.has_value(), transaction.error().log);
        return std::move(*transaction);
    };
    const auto insert = [&](postgres::Transaction& in, std::int64_t id) {
        return bench.loop.run(in.run(call(k_insert, id, "n"), Deadline::in(10s))).has_value();
    };
    {
        auto transaction = begin();
        CHECK(insert(*transaction, 1));
        CHECK(bench.count(1) == 0);  // seen from outside
        CHECK(bench.loop.run(transaction->commit(Deadline::in(10s))).has_value());
    }
    CHECK(bench.count(1) == 1);
    {
        auto transaction = begin();
        CHECK(insert(*transaction, 2));
    }
    // The lock of the uncommitted row is gone when the server has rolled back: the same key goes
    // in.
    CHECK(bench.run(db, call(k_insert, std::int64_t{2}, "mine")).has_value());
    {
        auto transaction = begin();
        CHECK(insert(*transaction, 3));
        CHECK_FALSE(insert(*transaction, 1));
        const auto after = bench.loop.run(transaction->run(call(k_pid), Deadline::in(10s)));
        CHECK(error_of(after).source == "25P02");
        CHECK(error_of(bench.loop.run(transaction->commit(Deadline::in(10s)))).source ==
              "23505:things_one_each");
    }
    CHECK(bench.count(3) == 0);
}

TEST_CASE("exclusive connections are bounded, and come back") {
    Bench bench;
    auto with = bench.options();
    with.exclusive_connections = 1;
    auto& db = bench.open(std::move(with));
    auto held = bench.loop.run(db.begin(Deadline::in(10s)));
    REQUIRE(held.has_value());
    const auto refused = bench.loop.run(db.begin(Deadline::in(200ms)));
    CHECK(error_of(refused).code == ErrorCode::timeout);
    held->reset();
    CHECK(bench.loop.run(db.begin(Deadline::in(10s))).has_value());
}

TEST_CASE("an advisory lock is held by one, lost with its connection, free afterwards") {
    Bench bench;
    auto proxy = bench.proxy();
    auto& mine = bench.connect(&proxy);
    auto& other = *bench.databases.front();
    const auto key = static_cast<std::int64_t>(std::hash<base::Uuid>{}(base::uuid_v7()));
    auto lock = bench.loop.run(mine.try_lock(key, Deadline::in(10s)));
    REQUIRE(lock.has_value());
    REQUIRE(*lock != nullptr);
    CHECK((*lock)->held());
    const auto second = bench.loop.run(other.try_lock(key, Deadline::in(10s)));
    REQUIRE(second.has_value());
    CHECK(*second == nullptr);

    proxy.cut();
    bench.loop.run((*lock)->lost());
    CHECK_FALSE((*lock)->held());
    bool taken = false;
    REQUIRE(bench.loop.until([&] {
        const auto again = bench.loop.run(other.try_lock(key, Deadline::in(10s)));
        taken = again.has_value() && *again != nullptr;
        return taken;
    }));
    CHECK(taken);
}

TEST_CASE("a passed deadline is a timeout, and the connection stays usable") {
    Bench bench;
    auto& db = *bench.databases.front();
    const auto pid = bench.pid(db);
    const auto begun = Clock::now();
    const auto late = bench.run(db, call(k_sleep, 1.5), 200ms);
    CHECK(error_of(late).code == ErrorCode::timeout);
    CHECK(postgres::is_ambiguous(late.error()));
    CHECK(Clock::now() - begun < 1200ms);
    CHECK(bench.pid(db) == pid);
}

TEST_CASE("statement_timeout ends a statement on the server, and the connection stays usable") {
    Bench bench;
    auto with = bench.options();
    with.statement_timeout = 200ms;
    auto& db = bench.open(std::move(with));
    const auto pid = bench.pid(db);
    const auto begun = Clock::now();
    const auto late = bench.run(db, call(k_sleep, 30.0), 20s);
    CHECK(error_of(late).code == ErrorCode::timeout);
    CHECK(late.error().source == "57014");
    CHECK_FALSE(postgres::is_ambiguous(late.error()));
    CHECK(Clock::now() - begun < 1200ms);
    CHECK(bench.pid(db) == pid);
}

TEST_CASE("waiting for a lock ends after lock_timeout") {
    Bench bench;
    auto with = bench.options();
    with.lock_timeout = 200ms;
    auto& db = bench.open(std::move(with));
    auto holder = bench.loop.run(bench.databases.front()->begin(Deadline::in(10s)));
    REQUIRE(holder.has_value());
    REQUIRE(
        bench.loop.run((*holder)->run(call(k_insert, std::int64_t{1}, "held"), Deadline::in(10s)))
            .has_value());
    const auto blocked = bench.run(db, call(k_insert, std::int64_t{1}, "waits"));
    CHECK(error_of(blocked).code == ErrorCode::unavailable);
    CHECK(blocked.error().source == "55P03");
}

TEST_CASE(
    "server away at start: calls are refused in time, and it connects by itself once the server is "
    "there") {
    Bench bench;
    auto proxy = bench.proxy();
    proxy.refuse();
    auto& db = bench.open(bench.options(&proxy));
    const auto begun = Clock::now();
    CHECK(error_of(bench.loop.run(db.wait_connected(Deadline::in(200ms)))).code ==
          ErrorCode::unavailable);
    const auto refused = bench.run(db, call(k_pid), 300ms);
    CHECK(error_of(refused).code == ErrorCode::unavailable);
    CHECK_FALSE(postgres::is_ambiguous(refused.error()));
    CHECK(Clock::now() - begun < 1500ms);
    CHECK_FALSE(db.connected());
    CHECK_FALSE(bench.told.empty());

    const auto waiting = start(bench.loop, db.run(call(k_pid), Deadline::in(10s)));
    proxy.accept_again();
    REQUIRE(bench.loop.until([&] { return waiting->value.has_value(); }));
    CHECK(waiting->value->has_value());
    CHECK(db.connected());
}

TEST_CASE("more calls than waiting_max are refused while the server is away") {
    Bench bench;
    auto proxy = bench.proxy();
    proxy.refuse();
    auto with = bench.options(&proxy);
    with.waiting_max = 3;
    auto& db = bench.open(std::move(with));
    std::vector<std::shared_ptr<Running<Rows>>> calls;
    for (int i = 0; i < 5; ++i)
        calls.push_back(start(bench.loop, db.run(call(k_pid), Deadline::in(10s))));
    REQUIRE(bench.loop.until([&] { return calls[3]->value && calls[4]->value; }, 2s));
    CHECK(error_of(*calls[4]->value).code == ErrorCode::unavailable);
    proxy.accept_again();
    REQUIRE(
        bench.loop.until([&] { return calls[0]->value && calls[1]->value && calls[2]->value; }));
    for (std::size_t i = 0; i < 3; ++i) CHECK(calls[i]->value->has_value());
}

TEST_CASE(
    "a cut in the middle of a query is unavailable and ambiguous; it recovers, and the next call "
    "works") {
    Bench bench;
    auto proxy = bench.proxy();
    auto& db = bench.connect(&proxy);
    const auto pid = bench.pid(db);
    const auto sent = proxy.bytes_to_server();
    const auto running = start(bench.loop, db.run(call(k_sleep, 1.0), Deadline::in(10s)));
    REQUIRE(bench.loop.until([&] { return proxy.bytes_to_server() > sent; }));
    proxy.cut();
    REQUIRE(bench.loop.until([&] { return running->value.has_value(); }, 1s));
    CHECK(error_of(*running->value).code == ErrorCode::unavailable);
    CHECK(postgres::is_ambiguous(running->value->error()));
    CHECK(bench.pid(db) != pid);
    CHECK(proxy.accepted() == 2);
}

TEST_CASE(
    "cuts under load: what was confirmed is there, what was not is there at most once, and it "
    "recovers") {
    Bench bench;
    auto proxy = bench.proxy();
    auto& db = bench.connect(&proxy);
    std::map<std::int64_t, std::shared_ptr<Running<Rows>>> calls;
    static const Statement log_insert{"test_log_insert", "INSERT INTO journal (id) VALUES ($1)"};
    bench.script(*bench.databases.front(), "CREATE TABLE journal (id bigint)");
    std::int64_t next = 0;
    for (int round = 0; round < 5; ++round) {
        REQUIRE(bench.loop.run(db.wait_connected(Deadline::in(10s))).has_value());
        for (int i = 0; i < 100; ++i, ++next)
            calls.emplace(next,
                          start(bench.loop, db.run(call(log_insert, next), Deadline::in(20s))));
        const auto first = next - 100;
        REQUIRE(bench.loop.until([&] { return calls.at(first + round * 20)->value.has_value(); }));
        proxy.cut();
    }
    REQUIRE(bench.loop.until([&] {
        return std::ranges::all_of(calls,
                                   [](const auto& c) { return c.second->value.has_value(); });
    }));
    static const Statement journal{"test_journal", "SELECT id, count(*) FROM journal GROUP BY id"};
    std::map<std::int64_t, std::int64_t> found;
    const auto rows = bench.get(*bench.databases.front(), call(journal));
    for (std::size_t i = 0; i < rows.size(); ++i)
        found[rows[i].get<std::int64_t>(0)] = rows[i].get<std::int64_t>(1);
    int confirmed = 0;
    for (const auto& [id, running] : calls) {
        const auto times = found.contains(id) ? found[id] : 0;
        REQUIRE(times <= 1);
        if (running->value->has_value()) {
            ++confirmed;
            REQUIRE(times == 1);
        } else {
            REQUIRE(running->value->error().code == ErrorCode::unavailable);
            REQUIRE(postgres::is_ambiguous(running->value->error()));
        }
    }
    CHECK(confirmed > 0);
    CHECK(bench.run(db, call(k_pid)).has_value());
}

TEST_CASE(
    "a server that has gone silent: deadlines hold, the connection is given up, and it recovers") {
    Bench bench;
    auto proxy = bench.proxy();
    auto with = bench.options(&proxy);
    with.statement_timeout = 200ms;
    auto& db = bench.open(std::move(with));
    const auto pid = bench.pid(db);

    proxy.freeze();
    const auto begun = Clock::now();
    const auto late = bench.run(db, call(k_pid), 400ms);
    CHECK(error_of(late).code == ErrorCode::timeout);
    CHECK(Clock::now() - begun >= 390ms);
    CHECK(Clock::now() - begun < 1400ms);
    // A transaction of its own needs a new connection, whose handshake nobody answers.
    const auto begun_again = Clock::now();
    CHECK_FALSE(bench.loop.run(db.begin(Deadline::in(400ms))).has_value());
    CHECK(Clock::now() - begun_again < 1400ms);

    SUBCASE("that wakes up soon: the same connection goes on") {
        proxy.thaw();
        CHECK(bench.pid(db) == pid);
    }
    SUBCASE("for longer than any statement may take: a new connection") {
        REQUIRE(bench.loop.until([&] { return !db.connected(); }));
        proxy.thaw();
        CHECK(bench.pid(db) != pid);
    }
}

TEST_CASE("close() fails what is under way and what comes after") {
    Bench bench;
    auto& db = bench.connect();
    const auto running = start(bench.loop, db.run(call(k_sleep, 1.0), Deadline::in(10s)));
    bench.loop.run_for(50ms);
    bench.loop.run(db.close());
    REQUIRE(bench.loop.until([&] { return running->value.has_value(); }, 2s));
    CHECK(error_of(*running->value).code == ErrorCode::unavailable);
    CHECK(error_of(bench.run(db, call(k_pid))).code == ErrorCode::unavailable);
}
