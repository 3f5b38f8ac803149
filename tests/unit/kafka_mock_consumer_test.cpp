// The consumer against librdkafka's mock cluster: stored offsets, rebalances, back-pressure.

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "shared/kafka/kafka.hpp"
#include "tests/support/kafka_loop.hpp"
#include "tests/unit/kafka_mock.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using millrace::tests::Loop;
using millrace::tests::MockCluster;
using millrace::tests::Reader;
using millrace::tests::Told;

namespace {

using Seen = std::map<std::string, int>;  // value -> times

kafka::ConsumerOptions options(const MockCluster& cluster, std::string group = "g") {
    return {.brokers = cluster.brokers(),
            .client_id = "test",
            .group = std::move(group),
            .topics = {"t"},
            .overrides = {{"session.timeout.ms", "3000"},
                          {"heartbeat.interval.ms", "300"},
                          {"auto.commit.interval.ms", "100"},
                          {"topic.metadata.refresh.interval.ms", "300"}}};
}

/// Publishes values first … first + n - 1, spread over the partitions by key.
void publish(Loop& loop, const MockCluster& cluster, int first, int n) {
    const auto producer =
        kafka::make_producer(loop.executor(), {.brokers = cluster.brokers(), .client_id = "test"});
    REQUIRE(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    int delivered = 0;
    for (int i = first; i < first + n; ++i) {
        producer->publish(
            {.topic = "t", .key = "key" + std::to_string(i), .value = std::to_string(i)},
            [&](const Result<kafka::Position>& r) { delivered += r.has_value(); });
    }
    REQUIRE(loop.until([&] { return delivered == n; }));
}

/// Records of "t" that group "g" has committed.
std::int64_t committed(const MockCluster& cluster, int partitions) {
    auto* conf = rd_kafka_conf_new();
    char why[256];
    rd_kafka_conf_set(conf, "bootstrap.servers", cluster.brokers().c_str(), why, sizeof why);
    rd_kafka_conf_set(conf, "group.id", "g", why, sizeof why);
    auto* client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    REQUIRE(client != nullptr);
    auto* list = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_topic_partition_list_add_range(list, "t", 0, partitions - 1);
    std::int64_t sum = 0;
    if (rd_kafka_committed(client, list, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < list->cnt; ++i) sum += std::max<std::int64_t>(list->elems[i].offset, 0);
    }
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(client);
    return sum;
}

void close(Loop& loop, kafka::Consumer& consumer, std::initializer_list<Reader*> readers) {
    loop.run(consumer.close(Deadline::in(5s)));
    for (auto* reader : readers) REQUIRE(loop.until([&] { return reader->ended; }));
}

}  // namespace

TEST_CASE("fetch gives at most what was asked for, at least one, and all of it") {
    const MockCluster cluster;
    cluster.topic("t", 2);
    Loop loop;
    publish(loop, cluster, 0, 500);
    const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
    Seen seen;
    Reader reader{*consumer, seen, 7};
    reader.start(loop);
    REQUIRE(loop.until([&] { return seen.size() == 500; }));
    for (const auto size : reader.sizes) CHECK((size >= 1 && size <= 7));
    for (const auto& [value, times] : seen) CHECK(times == 1);

    REQUIRE(loop.until([&] {
        const auto progress = consumer->progress();
        std::int64_t total = 0;
        for (const auto& p : progress) total += p.next.offset == p.log_end ? p.log_end : 0;
        return progress.size() == 2 && total == 500;
    }));
    close(loop, *consumer, {&reader});
    CHECK(loop.run(consumer->fetch(1)).empty());
}

TEST_CASE("what was not stored is delivered again after a crash, what was stored is not") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    publish(loop, cluster, 0, 100);
    {
        const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
        std::vector<kafka::Record> records;
        while (records.size() < 60) {
            for (auto& r : loop.run(consumer->fetch(60 - records.size())))
                records.push_back(std::move(r));
        }
        consumer->store(records[39].position);  // and all before it
        consumer->store(records[10].position);  // an older one does not turn the clock back
        loop.run_for(500ms);                    // several commit intervals
    }  // no close(): a crash as far as the group is concerned
    const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
    Seen seen;
    Reader reader{*consumer, seen};
    reader.start(loop);
    REQUIRE(loop.until([&] { return seen.size() == 60; }));
    CHECK(seen.contains("40"));
    CHECK_FALSE(seen.contains("39"));
    close(loop, *consumer, {&reader});
}

TEST_CASE("close commits what was stored a moment ago, and the next consumer goes on there") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    publish(loop, cluster, 0, 100);
    auto slow_commit = options(cluster);
    slow_commit.overrides["auto.commit.interval.ms"] = "60000";
    for (int round = 0; round < 4; ++round) {
        const auto consumer = kafka::make_consumer(loop.executor(), slow_commit);
        int next = round * 25;
        while (next < round * 25 + 25) {
            for (const auto& r :
                 loop.run(consumer->fetch(static_cast<std::size_t>(round * 25 + 25 - next)))) {
                CHECK(r.value == std::to_string(next++));
                consumer->store(r.position);
            }
        }
        const auto begin = std::chrono::steady_clock::now();
        loop.run(consumer->close(Deadline::in(5s)));
        CHECK(std::chrono::steady_clock::now() - begin < 2s);
    }
}

TEST_CASE("an idle partition's place is known although nothing was fetched") {
    const MockCluster cluster;
    cluster.topic("t", 4);
    Loop loop;
    const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
    Seen seen;
    Reader reader{*consumer, seen};
    reader.start(loop);
    CHECK(loop.until([&] {
        const auto progress = consumer->progress();
        return progress.size() == 4 && std::ranges::all_of(progress, [](const auto& p) {
                   return p.next.offset == 0 && p.log_end == 0;
               });
    }));
    close(loop, *consumer, {&reader});
}

TEST_CASE("partitions move between two consumers: nothing lost, nothing committed repeated") {
    const MockCluster cluster;
    cluster.topic("t", 4);
    Loop loop;
    Seen seen;
    int published = 0;
    const auto more = [&](int n) {
        publish(loop, cluster, published, n);
        published += n;
    };
    const auto first = kafka::make_consumer(loop.executor(), options(cluster));
    Reader one{*first, seen};
    one.start(loop);
    more(200);
    REQUIRE(loop.until([&] { return seen.size() == 200; }));
    // The mock, unlike a broker, refuses commits once somebody joins.
    REQUIRE(loop.until([&] { return committed(cluster, 4) == 200; }));

    const auto second = kafka::make_consumer(loop.executor(), options(cluster));
    Reader two{*second, seen};
    two.start(loop);
    more(200);
    REQUIRE(loop.until(
        [&] { return first->progress().size() == 2 && second->progress().size() == 2; }));
    more(200);
    REQUIRE(loop.until([&] { return seen.size() == 600 && committed(cluster, 4) == 600; }));

    close(loop, *first, {&one});
    more(200);
    REQUIRE(loop.until([&] { return second->progress().size() == 4; }));
    REQUIRE(loop.until([&] { return seen.size() == 800; }));
    for (const auto& [value, times] : seen) {
        const auto batch = std::stoi(value) / 200;  // the second and fourth came during a move
        if (batch % 2 == 0) CHECK_MESSAGE(times == 1, value);
    }
    close(loop, *second, {&two});
}

TEST_CASE(
    "not fetching is back-pressure: the group keeps its member, lets it hand over, and buffers are "
    "bounded") {
    const MockCluster cluster;
    cluster.topic("t", 2);
    Loop loop;
    publish(loop, cluster, 0, 300);
    Told events;
    auto lazy_options = options(cluster);
    lazy_options.overrides["max.poll.interval.ms"] = "3000";
    lazy_options.on_event = events.hook();
    const auto lazy = kafka::make_consumer(loop.executor(), lazy_options);
    REQUIRE(loop.until([&] { return lazy->progress().size() == 2; }));
    loop.run_for(4500ms);  // past max.poll.interval without one fetch
    CHECK(lazy->progress().size() == 2);
    CHECK(events.texts.size() == 1);  // the assignment

    // It gives a partition to a second member although nobody fetches from it.
    Seen seen;
    const auto busy = kafka::make_consumer(loop.executor(), options(cluster));
    Reader reader{*busy, seen};
    reader.start(loop);
    REQUIRE(
        loop.until([&] { return lazy->progress().size() == 1 && busy->progress().size() == 1; }));
    REQUIRE(loop.until([&] { return !seen.empty(); }));

    Reader late{*lazy, seen};
    late.start(loop);
    REQUIRE(loop.until([&] { return seen.size() == 300; }));
    for (const auto& [value, times] : seen)
        CHECK(times == 1);  // nothing was fetched twice: nobody had fetched before
    close(loop, *lazy, {&late});
    close(loop, *busy, {&reader});
}

TEST_CASE("a broker that goes and comes back: consumption goes on") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Seen seen;
    const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
    Reader reader{*consumer, seen};
    reader.start(loop);
    publish(loop, cluster, 0, 50);
    REQUIRE(loop.until([&] { return seen.size() == 50; }));
    cluster.down();
    loop.run_for(1s);
    cluster.up();
    publish(loop, cluster, 50, 50);
    REQUIRE(loop.until([&] { return seen.size() == 100; }));
    close(loop, *consumer, {&reader});
}

TEST_CASE("no broker at all: waiting costs nothing, and close does not hang") {
    const MockCluster cluster;
    cluster.down();
    Loop loop;
    Told events;
    auto alone = options(cluster);
    alone.on_event = events.hook();
    const auto consumer = kafka::make_consumer(loop.executor(), alone);
    Seen seen;
    Reader reader{*consumer, seen};
    reader.start(loop);
    REQUIRE(loop.until([&] { return !events.texts.empty(); }));
    const auto begin = std::chrono::steady_clock::now();
    loop.run(consumer->close(Deadline::in(1s)));
    CHECK(std::chrono::steady_clock::now() - begin < 2s);
    REQUIRE(loop.until([&] { return reader.ended; }));
}

TEST_CASE("a broker that goes while we close: bounded, and what was not committed comes again") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    publish(loop, cluster, 0, 10);
    {
        auto slow_commit = options(cluster);
        slow_commit.overrides["auto.commit.interval.ms"] = "60000";
        const auto consumer = kafka::make_consumer(loop.executor(), slow_commit);
        int got = 0;
        while (got < 10) {
            for (const auto& r : loop.run(consumer->fetch(100))) {
                consumer->store(r.position);
                ++got;
            }
        }
        cluster.down();
        const auto begin = std::chrono::steady_clock::now();
        loop.run(consumer->close(Deadline::in(1s)));
        CHECK(std::chrono::steady_clock::now() - begin < 2s);
    }
    cluster.up();
    const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
    Seen seen;
    Reader reader{*consumer, seen};
    reader.start(loop);
    CHECK(loop.until([&] { return seen.size() == 10; }));
    close(loop, *consumer, {&reader});
}

TEST_CASE("storing for a partition that is not ours is ignored") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    const auto consumer = kafka::make_consumer(loop.executor(), options(cluster));
    consumer->store({"t", 0, 5});
    REQUIRE(loop.until([&] { return consumer->progress().size() == 1; }));
    consumer->store({"t", 7, 5});
    consumer->store({"other", 0, 5});
    loop.run(consumer->close(Deadline::in(5s)));
    consumer->store({"t", 0, 5});
    CHECK(consumer->progress().empty());
}
