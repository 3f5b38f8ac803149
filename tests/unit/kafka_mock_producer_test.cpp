// The producer against librdkafka's mock cluster: delivery reports, injected errors, brokers away
// and back.

#include <doctest/doctest.h>

#include <map>
#include <vector>

#include "shared/kafka/kafka.hpp"
#include "tests/support/kafka_loop.hpp"
#include "tests/unit/kafka_mock.hpp"

using namespace std::chrono_literals;
using namespace millrace;
using millrace::tests::Loop;
using millrace::tests::MockCluster;
using millrace::tests::Told;

namespace {

/// Counts the reports of each record: exactly one is the contract.
struct Ledger {
    std::map<int, std::vector<Result<kafka::Position>>> reports;
    int published = 0;

    void publish(kafka::Producer& producer, const std::string& topic, const std::string& key = "k",
                 std::string value = "v") {
        const int id = published++;
        producer.publish(
            {.topic = topic,
             .key = key,
             .value = std::move(value),
             .headers = {{"n", std::to_string(id)}}},
            [this, id](const Result<kafka::Position>& report) { reports[id].push_back(report); });
    }
    [[nodiscard]] bool complete() const {
        return reports.size() == static_cast<std::size_t>(published);
    }
    [[nodiscard]] int count(std::optional<ErrorCode> code) const {
        int n = 0;
        for (const auto& [id, all] : reports) {
            const auto& last = all.back();
            n += code ? (!last && last.error().code == *code) : last.has_value();
        }
        return n;
    }
    void exactly_once() const {
        CHECK(reports.size() == static_cast<std::size_t>(published));
        for (const auto& [id, all] : reports) CHECK_MESSAGE(all.size() == 1, "record " << id);
    }
};

}  // namespace

TEST_CASE("delivery reports tell where each record stands") {
    const MockCluster cluster;
    cluster.topic("t", 3);
    Loop loop;
    Ledger ledger;
    const auto producer =
        kafka::make_producer(loop.executor(), {.brokers = cluster.brokers(), .client_id = "test"});
    CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    CHECK(producer->connected());
    for (int i = 0; i < 1000; ++i) ledger.publish(*producer, "t", "one key");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    ledger.exactly_once();
    std::int64_t expected = 0;
    const auto partition = ledger.reports[0][0]->partition;
    for (const auto& [id, all] : ledger.reports) {
        REQUIRE(all[0].has_value());
        CHECK(all[0]->topic == "t");
        CHECK(all[0]->partition == partition);  // one key, one partition
        CHECK(all[0]->offset == expected++);    // in the order of publishing
    }
    CHECK(loop.run(producer->flush(Deadline::in(1s))));
}

TEST_CASE("a full queue is told from a later turn, and what was taken is delivered") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    const auto producer = kafka::make_producer(
        loop.executor(),
        {.brokers = cluster.brokers(), .client_id = "test", .queue_records_max = 10});
    for (int i = 0; i < 50; ++i) ledger.publish(*producer, "t");
    CHECK(ledger.reports.empty());  // never from within publish()
    CHECK(loop.run(producer->flush(Deadline::in(10s))));
    ledger.exactly_once();
    CHECK(ledger.count(std::nullopt) == 10);
    CHECK(ledger.count(ErrorCode::unavailable) == 40);
}

TEST_CASE("a fatal error rebuilds the producer and every record is accounted for once") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    Told events;
    const auto producer = kafka::make_producer(
        loop.executor(),
        {.brokers = cluster.brokers(), .client_id = "test", .on_event = events.hook()});
    CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));

    cluster.rtt(50);
    cluster.fail_requests(tests::k_api_produce, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (int i = 0; i < 3; ++i) ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return events.has("fatal error, rebuilt"); }));
    cluster.rtt(0);
    for (int i = 0; i < 100; ++i) ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    ledger.publish(*producer, "t");  // it works again
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    ledger.exactly_once();
    CHECK(ledger.count(ErrorCode::timeout) + ledger.count(ErrorCode::unavailable) >= 1);
    CHECK(ledger.reports.rbegin()->second[0].has_value());
    CHECK(ledger.count(std::nullopt) >= 2);
}

TEST_CASE("a producer that goes fatal again and again backs off") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    Told events;
    const auto producer = kafka::make_producer(
        loop.executor(),
        {.brokers = cluster.brokers(), .client_id = "test", .on_event = events.hook()});
    // More than will be asked: an instance may ask more than once before it goes fatal.
    for (int i = 0; i < 64; ++i) {
        cluster.fail_requests(tests::k_api_init_producer_id,
                              RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
    }
    REQUIRE(loop.until([&] {
        ledger.publish(*producer, "t");
        return events.has("rebuilt after 200 ms");
    }));
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    ledger.exactly_once();
    rd_kafka_mock_clear_request_errors(cluster.get(), tests::k_api_init_producer_id);
    REQUIRE(loop.until([&] {
        ledger.publish(*producer, "t");
        return ledger.count(std::nullopt) > 0;
    }));
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    ledger.exactly_once();
}

TEST_CASE(
    "no broker at the start: accepted, then failed after the message timeout, or delivered when it "
    "comes") {
    const MockCluster cluster;
    cluster.topic("t");
    cluster.down();
    Loop loop;
    Ledger ledger;
    const auto producer = kafka::make_producer(
        loop.executor(),
        {.brokers = cluster.brokers(), .client_id = "test", .message_timeout = 1500ms});
    ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    REQUIRE_FALSE(ledger.reports[0][0].has_value());
    CHECK(ledger.reports[0][0].error().code == ErrorCode::unavailable);  // it never left
    CHECK_FALSE(producer->connected());
    const auto warmed = loop.run(producer->warm({"t"}, Deadline::in(200ms)));
    REQUIRE_FALSE(warmed.has_value());
    CHECK(warmed.error().code == ErrorCode::unavailable);

    cluster.up();
    CHECK(loop.until([&] { return producer->connected(); }));  // without anybody publishing
    ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    CHECK(ledger.reports[1][0].has_value());
    ledger.exactly_once();
}

TEST_CASE(
    "a broker that goes in the middle and comes back within the message timeout loses nothing") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    const auto producer = kafka::make_producer(
        loop.executor(),
        {.brokers = cluster.brokers(), .client_id = "test", .message_timeout = 10s});
    CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    cluster.rtt(20);
    for (int i = 0; i < 100; ++i) ledger.publish(*producer, "t");
    loop.run_for(5ms);
    cluster.down();
    for (int i = 0; i < 100; ++i) ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return !producer->connected(); }));
    cluster.rtt(0);
    cluster.up();
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    ledger.exactly_once();
    CHECK(ledger.count(std::nullopt) == 200);
    CHECK(producer->connected());
}

TEST_CASE("a slow broker: possibly persisted records time out, late answers are dropped") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    const auto producer = kafka::make_producer(
        loop.executor(),
        {.brokers = cluster.brokers(), .client_id = "test", .message_timeout = 1000ms});
    CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    cluster.rtt(2500);
    ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    REQUIRE_FALSE(ledger.reports[1][0].has_value());
    CHECK(ledger.reports[1][0].error().code == ErrorCode::timeout);
    cluster.rtt(0);
    loop.run_for(3s);
    REQUIRE(loop.until([&] {
        ledger.publish(*producer, "t");
        return loop.until([&] { return ledger.complete(); }) &&
               ledger.reports.rbegin()->second[0].has_value();
    }));
    ledger.exactly_once();
}

TEST_CASE("errors that a caller can mend have their own codes") {
    const MockCluster cluster;
    cluster.topic("t");
    rd_kafka_mock_topic_set_error(cluster.get(), "absent", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    Loop loop;
    Ledger ledger;
    const auto producer =
        kafka::make_producer(loop.executor(), {.brokers = cluster.brokers(), .client_id = "test"});
    ledger.publish(*producer, "t", "k", std::string(2'000'000, 'x'));
    ledger.publish(*producer, "absent");
    ledger.publish(*producer, "");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    CHECK(ledger.reports[0][0].error().code == ErrorCode::too_large);
    CHECK(ledger.reports[1][0].error().code == ErrorCode::invalid);
    CHECK_FALSE(ledger.reports[2][0].has_value());
    ledger.exactly_once();
    const auto warmed = loop.run(producer->warm({"t", "absent"}, Deadline::in(500ms)));
    REQUIRE_FALSE(warmed.has_value());
    CHECK(warmed.error().log.find("absent") != std::string::npos);
}

TEST_CASE("a retriable error of the broker is retried within librdkafka") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    const auto producer =
        kafka::make_producer(loop.executor(), {.brokers = cluster.brokers(), .client_id = "test"});
    CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
    cluster.fail_requests(tests::k_api_produce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                          RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
    for (int i = 0; i < 20; ++i) ledger.publish(*producer, "t");
    REQUIRE(loop.until([&] { return ledger.complete(); }));
    CHECK(ledger.count(std::nullopt) == 20);
    ledger.exactly_once();
}

TEST_CASE("destruction reports what is outstanding, and callbacks may publish") {
    const MockCluster cluster;
    cluster.topic("t");
    Loop loop;
    Ledger ledger;
    {
        const auto producer = kafka::make_producer(
            loop.executor(), {.brokers = cluster.brokers(), .client_id = "test"});
        CHECK(loop.run(producer->warm({"t"}, Deadline::in(10s))).has_value());
        bool second = false;
        producer->publish(
            {.topic = "t", .key = "a", .value = "1"}, [&](const Result<kafka::Position>&) {
                producer->publish(
                    {.topic = "t", .key = "a", .value = "2"},
                    [&](const Result<kafka::Position>& r) { second = r.has_value(); });
            });
        REQUIRE(loop.until([&] { return second; }));
        cluster.rtt(5000);
        for (int i = 0; i < 20; ++i) ledger.publish(*producer, "t");
        CHECK_FALSE(loop.run(producer->flush(Deadline::in(50ms))));
    }
    ledger.exactly_once();
    CHECK(ledger.count(ErrorCode::timeout) == 20);
}

TEST_CASE("a setting that librdkafka refuses stops the start") {
    Loop loop;
    CHECK_THROWS_WITH(
        kafka::make_producer(loop.executor(), {.brokers = "x:1", .overrides = {{"no.such", "1"}}}),
        doctest::Contains("no.such"));
}

TEST_CASE("what librdkafka has to say before we listen is heard, and so is everything after it") {
    Loop loop;
    for (int i = 0; i < 3; ++i) {
        Told told;
        const auto producer = kafka::make_producer(
            loop.executor(),
            {.brokers = "127.0.0.1:1", .client_id = "test", .on_event = told.hook()});
        REQUIRE(loop.until([&] { return told.has("_ALL_BROKERS_DOWN"); }, 5s));
    }
}
