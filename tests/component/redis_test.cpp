// shared/redis against a real server. Each test has keys and channels of its own; what it stores
// expires by itself.

#include "shared/redis/redis.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "shared/base/uuid.hpp"
#include "tests/support/env.hpp"
#include "tests/support/kafka_loop.hpp"
#include "tests/support/tcp_proxy.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using millrace::tests::Loop;
using millrace::tests::TcpProxy;
using redis::Args;
using redis::Reply;

namespace {

using Clock = std::chrono::steady_clock;
using Answer = Result<Reply>;

const redis::Script k_add{"test_add", "return redis.call('INCRBY', KEYS[1], ARGV[1]) + #ARGV"};

/// A loop, names of this test's own, and clients.
struct Bench {
    std::string url = tests::require_env("MILLRACE_REDIS_URL");
    std::string id = "test:" + base::uuid_v7().str();
    Loop loop{};
    std::vector<std::string> told{};

    redis::Options options(const TcpProxy* proxy = nullptr) {
        return {.url = proxy ? tests::ServerUrl::parse(url).at(proxy->port()) : url,
                .client_name = "redis_test",
                .on_event = [this](std::string text) { told.push_back(std::move(text)); }};
    }
    std::unique_ptr<redis::Client> client(const TcpProxy* proxy = nullptr) {
        auto made = redis::make_client(loop.executor(), options(proxy));
        REQUIRE(loop.until([&] { return made->connected(); }));
        return made;
    }
    std::unique_ptr<redis::Subscriber> subscriber(const TcpProxy* proxy = nullptr) {
        auto made = redis::make_subscriber(loop.executor(), options(proxy));
        REQUIRE(loop.until([&] { return made->connected(); }));
        return made;
    }
    TcpProxy proxy() { return {loop.executor(), tests::ServerUrl::parse(url)}; }
    [[nodiscard]] std::string key(const std::string& name) const { return id + ":" + name; }

    Answer run(redis::Client& client, Args args, std::chrono::milliseconds within = 5s) {
        return loop.run(client.command(std::move(args), Deadline::in(within)));
    }
    Reply get(redis::Client& client, Args args) {
        auto reply = run(client, std::move(args));
        REQUIRE_MESSAGE(reply.has_value(), reply.error().log);
        return std::move(*reply);
    }
    void set(redis::Client& client, const std::string& name, const std::string& value) {
        CHECK(get(client, {"SET", key(name), value, "EX", "60"}).text() == "OK");
    }
    /// How many subscribers a channel has, by the server's account.
    std::int64_t followers(redis::Client& client, const std::string& channel) {
        const auto reply = get(client, {"PUBSUB", "NUMSUB", channel});
        REQUIRE(reply.array().size() == 2);
        return reply.array()[1].integer();
    }
    void await_followers(redis::Client& client, const std::string& channel, std::int64_t n) {
        REQUIRE(loop.until([&] { return followers(client, channel) == n; }));
    }
};

/// A command under way.
struct Running {
    std::optional<Answer> value{};
};
std::shared_ptr<Running> start(Loop& loop, Task<Answer> task) {
    auto running = std::make_shared<Running>();
    asio::co_spawn(loop.executor(), std::move(task),
                   [running](std::exception_ptr thrown, Answer value) {
                       if (thrown) std::rethrow_exception(thrown);
                       running->value.emplace(std::move(value));
                   });
    return running;
}

const base::Error& error_of(const Answer& answer) {
    REQUIRE_FALSE(answer.has_value());
    return answer.error();
}

}  // namespace

TEST_CASE("commands: every kind of reply") {
    Bench bench;
    const auto client = bench.client();
    bench.set(*client, "a", "1");
    CHECK(bench.get(*client, {"GET", bench.key("a")}).text() == "1");
    CHECK(bench.get(*client, {"GET", bench.key("none")}).is_nil());
    CHECK(bench.get(*client, {"INCRBY", bench.key("a"), "-41"}).integer() == -40);
    CHECK(bench.get(*client, {"EXISTS", bench.key("none")}).integer() == 0);
    const auto several = bench.get(*client, {"MGET", bench.key("a"), bench.key("none")});
    REQUIRE(several.array().size() == 2);
    CHECK(several.array()[0].text() == "-40");
    CHECK(several.array()[1].is_nil());
    CHECK(bench.get(*client, {"LRANGE", bench.key("none"), "0", "-1"}).array().empty());
    CHECK_FALSE(bench.get(*client, {"LRANGE", bench.key("none"), "0", "-1"}).is_nil());
    CHECK(bench.get(*client, {"CLIENT", "GETNAME"}).text() == "redis_test");

    // An accessor of another kind says "nothing".
    CHECK(several.integer() == 0);
    CHECK(several.text().empty());
    CHECK(Reply{std::int64_t{3}}.array().empty());
}

TEST_CASE("error replies carry their first word, and the connection goes on") {
    Bench bench;
    const auto client = bench.client();
    bench.set(*client, "text", "x");
    const auto wrong_type = bench.run(*client, {"LPUSH", bench.key("text"), "y"});
    CHECK(error_of(wrong_type).code == ErrorCode::internal);
    CHECK(wrong_type.error().source == "redis:WRONGTYPE");
    CHECK(error_of(bench.run(*client, {"NO-SUCH-COMMAND"})).source == "redis:ERR");
    CHECK(bench.get(*client, {"GET", bench.key("text")}).text() == "x");
}

TEST_CASE("binary values: NUL, line ends, every byte, a megabyte") {
    Bench bench;
    const auto client = bench.client();
    std::string bytes;
    for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
    for (const auto& value :
         {bytes, std::string("\0\r\n\0", 4), std::string(), std::string(1 << 20, '\0')}) {
        bench.set(*client, bytes, value);
        CHECK(bench.get(*client, {"GET", bench.key(bytes)}).text() == value);
    }
}

TEST_CASE("commands are pipelined and answered in order") {
    Bench bench;
    const auto client = bench.client();
    std::vector<std::shared_ptr<Running>> commands;
    for (int i = 0; i < 1000; ++i)
        commands.push_back(
            start(bench.loop, client->command({"INCR", bench.key("n")}, Deadline::in(10s))));
    REQUIRE(bench.loop.until([&] {
        return std::ranges::all_of(commands, [](const auto& c) { return c->value.has_value(); });
    }));
    for (std::size_t i = 0; i < commands.size(); ++i) {
        REQUIRE(commands[i]->value->has_value());
        REQUIRE((*commands[i]->value)->integer() == static_cast<std::int64_t>(i) + 1);
    }
    client->post({"EXPIRE", bench.key("n"), "60"});
    CHECK(bench.get(*client, {"TTL", bench.key("n")}).integer() > 0);  // what was posted arrived
}

TEST_CASE("scripts: loaded when unknown, and again when the server has forgotten them") {
    Bench bench;
    const auto client = bench.client();
    const auto add = [&](const std::string& n) {
        return bench.loop.run(
            client->script(k_add, {bench.key("sum")}, {n, "more"}, Deadline::in(5s)));
    };
    bench.get(*client, {"SCRIPT", "FLUSH"});
    for (std::int64_t i = 1; i <= 3; ++i) {
        if (i == 3) bench.get(*client, {"SCRIPT", "FLUSH"});
        const auto sum = add("5");
        REQUIRE_MESSAGE(sum.has_value(), sum.error().log);
        CHECK(sum->integer() == 5 * i + 2);
    }
    bench.get(*client, {"EXPIRE", bench.key("sum"), "60"});
    CHECK_FALSE(add("no number").has_value());
    CHECK(bench.get(*client, {"GET", bench.key("sum")}).text() == "15");
}

TEST_CASE("streams: appended, trimmed, read from a place") {
    Bench bench;
    const auto client = bench.client();
    const auto stream = bench.key("stream");
    const std::string binary("\0\xff", 2);
    std::vector<std::string> ids;
    for (int i = 0; i < 5; ++i) {
        ids.emplace_back(bench
                             .get(*client, {"XADD", stream, "MAXLEN", "4", "*", "n",
                                            std::to_string(i), "b", binary})
                             .text());
    }
    client->post({"EXPIRE", stream, "60"});
    CHECK(std::ranges::is_sorted(ids));
    CHECK(bench.get(*client, {"XLEN", stream}).integer() == 4);
    const auto rest = bench.get(*client, {"XRANGE", stream, "(" + ids[2], "+"});
    REQUIRE(rest.array().size() == 2);
    const auto& entry = rest.array()[0].array();
    REQUIRE(entry.size() == 2);
    CHECK(entry[0].text() == ids[3]);
    REQUIRE(entry[1].array().size() == 4);
    CHECK(entry[1].array()[1].text() == "3");
    CHECK(entry[1].array()[3].text() == binary);
    CHECK(bench.get(*client, {"XREAD", "STREAMS", stream, ids[4]}).is_nil());
}

TEST_CASE("a deadline holds while the server is busy, and the connection stays usable") {
    Bench bench;
    const auto client = bench.client();
    const auto begun = Clock::now();
    const auto late = bench.run(*client, {"BLPOP", bench.key("nothing"), "1"}, 200ms);
    CHECK(error_of(late).code == ErrorCode::timeout);
    CHECK(Clock::now() - begun < 1200ms);
    CHECK(bench.get(*client, {"PING"}).text() == "PONG");
    CHECK(bench.told.empty());
}

TEST_CASE("more commands than pending_max are refused, the others answered") {
    Bench bench;
    auto with = bench.options();
    with.pending_max = 2;
    const auto client = redis::make_client(bench.loop.executor(), with);
    REQUIRE(bench.loop.until([&] { return client->connected(); }));
    std::vector<std::shared_ptr<Running>> commands;
    for (int i = 0; i < 3; ++i)
        commands.push_back(start(bench.loop, client->command({"PING"}, Deadline::in(5s))));
    REQUIRE(bench.loop.until([&] {
        return std::ranges::all_of(commands, [](const auto& c) { return c->value.has_value(); });
    }));
    CHECK(commands[0]->value->has_value());
    CHECK(commands[1]->value->has_value());
    CHECK(error_of(*commands[2]->value).code == ErrorCode::unavailable);
    REQUIRE(bench.loop.until([&] { return bench.run(*client, {"PING"}).has_value(); }));
}

TEST_CASE("server away at start: unavailable at once, and connected by itself later") {
    Bench bench;
    auto proxy = bench.proxy();
    proxy.refuse();
    const auto client = redis::make_client(bench.loop.executor(), bench.options(&proxy));
    REQUIRE(bench.loop.until([&] { return !bench.told.empty(); }));
    const auto begun = Clock::now();
    CHECK(error_of(bench.run(*client, {"PING"})).code == ErrorCode::unavailable);
    CHECK(Clock::now() - begun < 500ms);
    client->post({"PING"});
    proxy.accept_again();
    REQUIRE(bench.loop.until([&] { return client->connected(); }, 5s));
    CHECK(bench.get(*client, {"PING"}).text() == "PONG");
}

TEST_CASE(
    "a cut answers what is under way with unavailable; it recovers, and the next command works") {
    Bench bench;
    auto proxy = bench.proxy();
    const auto client = bench.client(&proxy);
    for (int round = 0; round < 3; ++round) {
        CHECK(bench.get(*client, {"PING"}).text() == "PONG");
        const auto sent = proxy.bytes_to_server();
        const auto running = start(
            bench.loop, client->command({"BLPOP", bench.key("nothing"), "10"}, Deadline::in(10s)));
        REQUIRE(bench.loop.until([&] { return proxy.bytes_to_server() > sent; }));
        const auto begun = Clock::now();
        proxy.cut();
        REQUIRE(bench.loop.until([&] { return running->value.has_value(); }, 2s));
        CHECK(Clock::now() - begun < 1s);
        CHECK(error_of(*running->value).code == ErrorCode::unavailable);
        REQUIRE(bench.loop.until([&] { return client->connected(); }, 5s));
    }
    CHECK(bench.get(*client, {"CLIENT", "GETNAME"}).text() ==
          "redis_test");  // set up as the first connection was
    CHECK(proxy.accepted() == 4);
}

TEST_CASE(
    "a server that has gone silent: deadlines hold, the connection is given up, and it recovers") {
    Bench bench;
    auto proxy = bench.proxy();
    const auto client = bench.client(&proxy);
    proxy.freeze();
    const auto begun = Clock::now();
    CHECK(error_of(bench.run(*client, {"PING"}, 300ms)).code == ErrorCode::timeout);
    CHECK(Clock::now() - begun >= 290ms);
    CHECK(Clock::now() - begun < 1300ms);

    SUBCASE("and wakes up soon: the same connection goes on") {
        proxy.thaw();
        CHECK(bench.get(*client, {"PING"}).text() == "PONG");
        CHECK(proxy.accepted() == 1);
    }
    SUBCASE("for long: a new connection") {
        REQUIRE(bench.loop.until([&] { return !bench.told.empty(); }, 6s));
        // A new connection is accepted, and as silent: commands on it end in time all the same.
        const auto again = Clock::now();
        CHECK_FALSE(bench.run(*client, {"PING"}, 300ms).has_value());
        CHECK(Clock::now() - again < 1300ms);
        proxy.thaw();
        REQUIRE(bench.loop.until([&] { return bench.run(*client, {"PING"}, 1s).has_value(); }));
        CHECK(proxy.accepted() > 1);
    }
}

TEST_CASE("a client that goes while a command is under way answers it") {
    Bench bench;
    auto client = bench.client();
    const auto running = start(
        bench.loop, client->command({"BLPOP", bench.key("nothing"), "10"}, Deadline::in(10s)));
    bench.loop.run_for(30ms);
    REQUIRE_FALSE(running->value.has_value());
    client.reset();
    REQUIRE(bench.loop.until([&] { return running->value.has_value(); }, 1s));
    CHECK(error_of(*running->value).code == ErrorCode::unavailable);
}

TEST_CASE("pub/sub: every handler of a channel hears its messages, and no others") {
    Bench bench;
    const auto client = bench.client();
    const auto subscriber = bench.subscriber();
    const auto a = bench.key("a"), b = bench.key("b");
    std::vector<std::string> first, second, other;
    const auto token =
        subscriber->subscribe(a, [&](std::string_view text) { first.emplace_back(text); });
    const auto token2 =
        subscriber->subscribe(a, [&](std::string_view text) { second.emplace_back(text); });
    subscriber->subscribe(b, [&](std::string_view text) { other.emplace_back(text); });
    bench.await_followers(*client, a, 1);
    bench.await_followers(*client, b, 1);

    const std::string binary("\0\r\n\xff", 4);
    client->post({"PUBLISH", a, binary});
    client->post({"PUBLISH", b, "for b"});
    REQUIRE(bench.loop.until([&] { return !other.empty(); }));
    CHECK(first == std::vector{binary});
    CHECK(second == std::vector{binary});
    CHECK(other == std::vector<std::string>{"for b"});

    subscriber->unsubscribe(token);
    client->post({"PUBLISH", a, "two"});
    REQUIRE(bench.loop.until([&] { return second.size() == 2; }));
    CHECK(first.size() == 1);
    subscriber->unsubscribe(token2);
    bench.await_followers(*client, a, 0);
    subscriber->unsubscribe(token2);  // twice is no harm
    client->post({"PUBLISH", b, "still here"});
    REQUIRE(bench.loop.until([&] { return other.size() == 2; }));

    // Left and joined again at once.
    const auto third = subscriber->subscribe(a, [&](std::string_view) {});
    subscriber->unsubscribe(third);
    subscriber->subscribe(a, [&](std::string_view text) { first.emplace_back(text); });
    bench.await_followers(*client, a, 1);
    client->post({"PUBLISH", a, "again"});
    REQUIRE(bench.loop.until([&] { return first.size() == 2; }));
}

TEST_CASE("a handler may unsubscribe itself and others while a message is being handed out") {
    Bench bench;
    const auto client = bench.client();
    const auto subscriber = bench.subscriber();
    const auto channel = bench.key("c"), end = bench.key("end");
    int heard = 0, ended = 0;
    redis::Subscriber::Token token = 0, token2 = 0;
    const auto leave = [&](std::string_view) {
        ++heard;
        subscriber->unsubscribe(token);
        subscriber->unsubscribe(token2);
    };
    token = subscriber->subscribe(channel, leave);
    token2 = subscriber->subscribe(channel, leave);
    subscriber->subscribe(end, [&](std::string_view) { ++ended; });
    bench.await_followers(*client, end, 1);
    client->post({"PUBLISH", channel, "x"});
    bench.await_followers(*client, channel, 0);
    const auto before = heard;
    client->post({"PUBLISH", channel, "y"});
    client->post({"PUBLISH", end, "z"});
    REQUIRE(bench.loop.until([&] { return ended == 1; }));
    CHECK(before >= 1);
    CHECK(heard == before);
}

TEST_CASE(
    "subscribed before the server is there; subscribed again after a cut, and ready is told each "
    "time") {
    Bench bench;
    const auto client = bench.client();
    auto proxy = bench.proxy();
    proxy.refuse();
    const auto subscriber = redis::make_subscriber(bench.loop.executor(), bench.options(&proxy));
    const auto channel = bench.key("c"), late = bench.key("late");
    int heard = 0, heard_late = 0, ready = 0;
    subscriber->on_ready([&] { ++ready; });
    subscriber->subscribe(channel, [&](std::string_view) { ++heard; });
    REQUIRE(bench.loop.until([&] { return !bench.told.empty(); }));
    CHECK(ready == 0);
    proxy.accept_again();
    bench.await_followers(*client, channel, 1);
    REQUIRE(bench.loop.until([&] { return ready == 1; }));
    client->post({"PUBLISH", channel, "1"});
    REQUIRE(bench.loop.until([&] { return heard == 1; }));

    proxy.refuse();
    proxy.cut();
    REQUIRE(bench.loop.until([&] { return !subscriber->connected(); }, 2s));
    bench.await_followers(*client, channel, 0);
    subscriber->subscribe(late, [&](std::string_view) { ++heard_late; });
    proxy.accept_again();
    bench.await_followers(*client, channel, 1);
    bench.await_followers(*client, late, 1);
    REQUIRE(bench.loop.until([&] { return ready == 2; }));
    client->post({"PUBLISH", channel, "2"});
    client->post({"PUBLISH", late, "2"});
    REQUIRE(bench.loop.until([&] { return heard == 2 && heard_late == 1; }));
}

TEST_CASE("when ready is told, nothing published from then on is missed") {
    // The contract of on_ready(): the truth is read then, and the wake-ups after that reading must
    // come.
    Bench bench;
    const auto client = bench.client();
    auto proxy = bench.proxy();
    const auto subscriber = bench.subscriber(&proxy);
    const auto channel = bench.key("c");
    int heard = 0, ready = 0;
    std::int64_t received = -1;
    subscriber->subscribe(channel, [&](std::string_view) { ++heard; });
    bench.await_followers(*client, channel, 1);
    subscriber->on_ready([&] {
        ++ready;
        asio::co_spawn(bench.loop.executor(),
                       client->command({"PUBLISH", channel, "x"}, Deadline::in(5s)),
                       [&](std::exception_ptr, const Answer& reply) {
                           received = reply ? reply->integer() : -2;
                       });
    });
    for (int round = 1; round <= 5; ++round) {
        proxy.cut();
        received = -1;
        REQUIRE(bench.loop.until([&] { return ready == round && received != -1; }));
        CHECK(received == 1);
        REQUIRE(bench.loop.until([&] { return heard == round; }, 2s));
    }
}

TEST_CASE("a subscriber notices a server that has gone silent") {
    Bench bench;
    const auto client = bench.client();
    auto proxy = bench.proxy();
    const auto subscriber = bench.subscriber(&proxy);
    const auto channel = bench.key("c");
    int heard = 0;
    subscriber->subscribe(channel, [&](std::string_view) { ++heard; });
    bench.await_followers(*client, channel, 1);
    proxy.freeze();
    REQUIRE(bench.loop.until([&] { return !bench.told.empty(); }, 25s));
    proxy.thaw();
    REQUIRE(bench.loop.until([&] {
        client->post({"PUBLISH", channel, "x"});
        bench.loop.run_for(20ms);
        return heard > 0;
    }));
}
