// shared/kafka against a real broker. Each test has topics of its own, and removes them.

#include "shared/kafka/kafka.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "shared/base/uuid.hpp"
#include "tests/support/env.hpp"
#include "tests/support/kafka_loop.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using millrace::tests::Loop;
using millrace::tests::Reader;
using millrace::tests::Told;

namespace {

/// A broker, a loop, and topics that go when the test does.
struct Bench {
    std::string brokers = tests::require_env("MILLRACE_KAFKA_BROKERS");
    std::unique_ptr<kafka::Admin> admin = kafka::make_admin(brokers);
    std::string id = base::uuid_v7().str();
    std::vector<std::string> topics{};
    Loop loop{};

    std::string topic(int partitions = 1, bool create = true) {
        auto name = "test-" + id + "-" + std::to_string(topics.size());
        topics.push_back(name);
        if (create) {
            const auto created = admin->create({{.name = name, .partitions = partitions}}, 10s);
            REQUIRE_MESSAGE(created.has_value(), created.error().log);
        }
        return name;
    }
    ~Bench() { (void)admin->remove(topics, 10s); }

    std::unique_ptr<kafka::Producer> producer() {
        return kafka::make_producer(loop.executor(), {.brokers = brokers, .client_id = "test"});
    }
    kafka::ConsumerOptions consuming(const std::string& topic) {
        return {.brokers = brokers, .client_id = "test", .group = "group-" + id, .topics = {topic}};
    }
    /// Publishes n values first, first + 1 … and waits for all of them.
    void publish(const std::string& topic, int first, int n, int keys = 1000) {
        const auto out = producer();
        REQUIRE(loop.run(out->warm({topic}, Deadline::in(10s))).has_value());
        int delivered = 0;
        for (int i = first; i < first + n; ++i) {
            out->publish({.topic = topic,
                          .key = "key" + std::to_string(i % keys),
                          .value = std::to_string(i)},
                         [&](const Result<kafka::Position>& r) { delivered += r.has_value(); });
        }
        REQUIRE(loop.until([&] { return delivered == n; }));
    }
    std::vector<kafka::Record> fetch(kafka::Consumer& consumer, std::size_t n) {
        std::vector<kafka::Record> all;
        while (all.size() < n) {
            for (auto& record : loop.run(consumer.fetch(n - all.size())))
                all.push_back(std::move(record));
        }
        return all;
    }
    void close(kafka::Consumer& consumer) { loop.run(consumer.close(Deadline::in(5s))); }
};

double publish_once(Bench& bench, kafka::Producer& producer, const std::string& topic,
                    std::size_t size) {
    bool done = false;
    const auto begin = std::chrono::steady_clock::now();
    producer.publish({.topic = topic, .key = "k", .value = std::string(size, 'x')},
                     [&](const Result<kafka::Position>& r) { done = r.has_value(); });
    REQUIRE(bench.loop.until([&] { return done; }));
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
        .count();
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

}  // namespace

TEST_CASE("round trip: key, value, headers, tombstones, time") {
    Bench bench;
    const auto topic = bench.topic();
    const auto producer = bench.producer();
    std::vector<kafka::Position> positions;
    const auto keep = [&](const Result<kafka::Position>& r) {
        REQUIRE(r.has_value());
        positions.push_back(*r);
    };
    const std::string binary("\0\xff\n", 3);
    const auto before = std::chrono::system_clock::now();
    producer->publish({.topic = topic,
                       .key = "k",
                       .value = "v",
                       .headers = {{"ce_id", "1"}, {"empty", ""}, {"b", binary}}},
                      keep);
    producer->publish({.topic = topic, .key = "k", .value = "", .has_value = false}, keep);
    producer->publish({.topic = topic, .key = "", .value = ""}, keep);
    producer->publish({.topic = topic, .key = binary, .value = std::string(900'000, 'x')}, keep);
    CHECK(bench.loop.run(producer->flush(Deadline::in(10s))));

    const auto consumer = kafka::make_consumer(bench.loop.executor(), bench.consuming(topic));
    const auto records = bench.fetch(*consumer, 4);
    CHECK(records[0].key == "k");
    CHECK(records[0].value == "v");
    CHECK(records[0].header("ce_id") == "1");
    CHECK(records[0].header("b") == binary);
    CHECK(records[0].header("absent").empty());
    CHECK(records[0].headers.size() == 3);
    CHECK(std::chrono::abs(records[0].time - before) < 60s);
    CHECK_FALSE(records[1].has_value);
    CHECK(records[2].has_value);
    CHECK(records[2].key.empty());
    CHECK(records[3].key == binary);
    CHECK(records[3].value.size() == 900'000);
    for (std::size_t i = 0; i < 4; ++i) CHECK(records[i].position.offset == positions[i].offset);
    bench.close(*consumer);
}

TEST_CASE("10,000 records keep the order of their key") {
    Bench bench;
    const auto topic = bench.topic(4);
    bench.publish(topic, 0, 10'000, 50);
    const auto consumer = kafka::make_consumer(bench.loop.executor(), bench.consuming(topic));
    std::map<std::string, int> last;
    std::set<std::int32_t> partitions;
    for (const auto& record : bench.fetch(*consumer, 10'000)) {
        const int value = std::stoi(record.value);
        const auto [known, first] = last.try_emplace(record.key, value);
        CHECK((first || value == known->second + 50));
        known->second = value;
        partitions.insert(record.position.partition);
        consumer->store(record.position);
    }
    CHECK(last.size() == 50);
    CHECK(partitions.size() == 4);
    bench.close(*consumer);
    const auto committed = bench.admin->committed("group-" + bench.id, {topic}, 10s);
    REQUIRE(committed.has_value());
    std::int64_t total = 0;
    for (const auto& position : *committed) total += position.offset;
    CHECK(total == 10'000);
}

TEST_CASE("administration") {
    Bench bench;
    const auto topic = bench.topic(2);
    CHECK(bench.admin->create({{.name = topic, .partitions = 2}}, 10s)
              .has_value());  // again is no error
    const auto bad = bench.admin->create(
        {{.name = "test-" + bench.id + "-bad", .config = {{"no.such", "1"}}}}, 10s);
    REQUIRE_FALSE(bad.has_value());
    CHECK(bad.error().code == ErrorCode::invalid);

    bench.publish(topic, 0, 100);
    CHECK(bench.admin->add_partitions(topic, 4, 10s).has_value());
    CHECK(bench.admin->add_partitions(topic, 4, 10s).has_value());
    CHECK_FALSE(bench.admin->add_partitions(topic, 1, 10s).has_value());
    const auto states = bench.admin->topics(10s);
    REQUIRE_MESSAGE(states.has_value(), states.error().log);
    const auto state = std::ranges::find(*states, topic, &kafka::TopicState::name);
    REQUIRE(state != states->end());
    CHECK(state->partitions == 4);
    CHECK(state->records == 100);

    std::int64_t sum = 0;
    for (int p = 0; p < 4; ++p) {
        const auto marks = bench.admin->watermarks(topic, p, 10s);
        REQUIRE(marks.has_value());
        CHECK(marks->first == 0);
        sum += marks->second;
    }
    CHECK(sum == 100);
    CHECK_FALSE(bench.admin->watermarks("test-" + bench.id + "-absent", 0, 10s).has_value());

    const auto none = bench.admin->committed("group-" + bench.id, {topic}, 10s);
    REQUIRE(none.has_value());
    CHECK(none->size() == 4);
    for (const auto& position : *none) CHECK(position.offset == -1);

    CHECK(bench.admin->remove({topic}, 10s).has_value());
    CHECK(bench.admin->remove({topic}, 10s).has_value());  // absent is no error
    const auto away = kafka::make_admin("127.0.0.1:1")->topics(500ms);
    REQUIRE_FALSE(away.has_value());
    CHECK(base::is_transient(away.error().code));
}

TEST_CASE(
    "a second member: what was stored is committed when partitions are revoked, so nothing comes "
    "twice") {
    Bench bench;
    const auto topic = bench.topic(4);
    auto options = bench.consuming(topic);
    options.overrides["auto.commit.interval.ms"] = "60000";  // only the revocation commits
    options.overrides["heartbeat.interval.ms"] = "500";
    std::map<std::string, int> seen;
    const auto first = kafka::make_consumer(bench.loop.executor(), options);
    Reader one{*first, seen};
    one.start(bench.loop);
    bench.publish(topic, 0, 400);
    REQUIRE(bench.loop.until([&] { return seen.size() == 400; }));
    const auto second = kafka::make_consumer(bench.loop.executor(), options);
    Reader two{*second, seen};
    two.start(bench.loop);
    REQUIRE(bench.loop.until(
        [&] { return first->progress().size() == 2 && second->progress().size() == 2; }));
    bench.publish(topic, 400, 400);
    REQUIRE(bench.loop.until([&] { return seen.size() == 800; }));
    bench.close(*first);
    REQUIRE(bench.loop.until([&] { return second->progress().size() == 4; }));
    bench.publish(topic, 800, 400);
    REQUIRE(bench.loop.until([&] { return seen.size() == 1200; }));
    bench.close(*second);
    for (const auto& [value, times] : seen) CHECK_MESSAGE(times == 1, value);
}

TEST_CASE("members come and go under load: nothing is lost") {
    Bench bench;
    const auto topic = bench.topic(4);
    auto options = bench.consuming(topic);
    options.overrides["heartbeat.interval.ms"] = "300";
    std::map<std::string, int> seen;
    const auto stays = kafka::make_consumer(bench.loop.executor(), options);
    Reader reader{*stays, seen, 20};
    reader.start(bench.loop);
    const auto producer = bench.producer();
    REQUIRE(bench.loop.run(producer->warm({topic}, Deadline::in(10s))).has_value());
    int published = 0;
    int delivered = 0;
    const auto load = [&](auto until) {
        return bench.loop.until([&] {
            for (int i = 0; i < 20; ++i, ++published) {
                producer->publish(
                    {.topic = topic,
                     .key = std::to_string(published),
                     .value = std::to_string(published)},
                    [&](const Result<kafka::Position>& r) { delivered += r.has_value(); });
            }
            return until();
        });
    };
    for (int cycle = 0; cycle < 3; ++cycle) {
        const auto comes = kafka::make_consumer(bench.loop.executor(), options);
        Reader other{*comes, seen, 20};
        other.start(bench.loop);
        REQUIRE(
            load([&] { return comes->progress().size() == 2 && stays->progress().size() == 2; }));
        bench.close(*comes);
        REQUIRE(load([&] { return other.ended && stays->progress().size() == 4; }));
    }
    REQUIRE(bench.loop.until([&] { return delivered == published; }));
    REQUIRE(bench.loop.until([&] { return seen.size() == static_cast<std::size_t>(published); }));
    int repeats = 0;
    for (const auto& [value, times] : seen) repeats += times - 1;
    std::printf("kafka: %d records, 3 cycles, %d repeated\n", published, repeats);
    bench.close(*stays);
}

TEST_CASE(
    "a static member keeps its partitions over a restart, and a second process with its name is "
    "told") {
    Bench bench;
    const auto topic = bench.topic(2);
    bench.publish(topic, 0, 10);
    auto options = bench.consuming(topic);
    options.instance = "worker-1";
    {
        const auto consumer = kafka::make_consumer(bench.loop.executor(), options);
        for (const auto& record : bench.fetch(*consumer, 10)) consumer->store(record.position);
        bench.close(*consumer);
    }
    bench.publish(topic, 10, 10);
    Told told;
    options.on_event = told.hook();
    const auto begin = std::chrono::steady_clock::now();
    const auto consumer = kafka::make_consumer(bench.loop.executor(), options);
    std::set<std::string> values;
    for (const auto& record : bench.fetch(*consumer, 10)) values.insert(record.value);
    CHECK(values.contains("10"));
    CHECK_FALSE(values.contains("9"));
    CHECK(std::chrono::steady_clock::now() - begin <
          5s);  // it need not wait for its old self to time out

    auto twin_options = options;
    Told twin_told;
    twin_options.on_event = twin_told.hook();
    {
        const auto twin = kafka::make_consumer(bench.loop.executor(), twin_options);
        REQUIRE(bench.loop.until(
            [&] {
                return told.has("fatal error, rebuilt") || twin_told.has("fatal error, rebuilt");
            },
            20s));
    }
    CHECK(
        bench.loop.until([&] { return consumer->progress().size() == 2; }, 30s));  // and it is back
    bench.close(*consumer);
}

TEST_CASE("a topic that comes into being later is consumed and published to") {
    Bench bench;
    const auto topic = bench.topic(1, false);
    auto options = bench.consuming(topic);
    Told told;
    options.on_event = told.hook();
    const auto consumer = kafka::make_consumer(bench.loop.executor(), options);
    const auto producer = bench.producer();
    std::optional<Result<kafka::Position>> early;
    producer->publish({.topic = topic, .key = "k", .value = "early"},
                      [&](const auto& r) { early = r; });
    REQUIRE(bench.loop.until([&] { return early.has_value(); }));
    REQUIRE_FALSE(early->has_value());
    CHECK(early->error().code == ErrorCode::invalid);
    REQUIRE(bench.loop.until([&] { return told.has("UNKNOWN_TOPIC_OR_PART"); }));

    REQUIRE(bench.admin->create({{.name = topic}}, 10s).has_value());
    REQUIRE(bench.loop.run(producer->warm({topic}, Deadline::in(10s))).has_value());
    CHECK(publish_once(bench, *producer, topic, 10) < 5000);
    const auto records = bench.fetch(*consumer, 1);
    CHECK(records[0].value.size() == 10);
    bench.close(*consumer);
}

TEST_CASE("the first record to a topic is not the slow one, and no size waits for Nagle") {
    Bench bench;
    std::vector<std::string> topics;
    for (int i = 0; i < 6; ++i) topics.push_back(bench.topic(2));
    const auto producer = bench.producer();
    REQUIRE(bench.loop.run(producer->warm(topics, Deadline::in(10s))).has_value());
    std::vector<double> firsts;
    for (const auto& topic : topics) firsts.push_back(publish_once(bench, *producer, topic, 400));
    std::vector<double> later;
    for (int i = 0; i < 100; ++i) later.push_back(publish_once(bench, *producer, topics[0], 400));
    const auto usual = median(later);
    std::printf(
        "perf/kafka_firstmsg: first %.2f ms, worst of 6 topics %.2f ms, median later %.2f ms\n",
        firsts[0], *std::ranges::max_element(firsts), usual);
    for (const auto first : firsts) CHECK(first < 250);  // the fault this looks for costs a second

    std::vector<double> medians;
    for (std::size_t size = 50; size <= 4000; size += 50) {
        std::vector<double> times;
        for (int i = 0; i < 7; ++i)
            times.push_back(publish_once(bench, *producer, topics[0], size));
        medians.push_back(median(times));
    }
    const auto [low, high] = std::ranges::minmax(medians);
    std::printf("perf/kafka_nagle: medians of 80 sizes %.2f … %.2f ms\n", low, high);
    CHECK(high < low + 30);  // the fault this looks for costs 40 ms
}
