// shared/kafka against bare librdkafka, alternating in one run: A B A B …
// usage: kafka_bench BROKERS [rounds]

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdlib>

#include "shared/base/uuid.hpp"
#include "shared/kafka/kafka.hpp"
#include "tests/bench/floor_rdkafka.hpp"

using namespace millrace;
using namespace millrace::bench;
using Clock = std::chrono::steady_clock;

namespace {

struct Publisher {
    const KafkaLoad& load;
    asio::io_context io{1};
    std::unique_ptr<kafka::Producer> producer =
        kafka::make_producer(io.get_executor(), {.brokers = load.brokers, .client_id = "bench"});
    kafka::Headers headers = kafka::Headers(static_cast<std::size_t>(load.headers),
                                            {"ce_header_name", "a header's value"});
    int sent = 0;
    int reported = 0;
    std::vector<double> latency_ms{};

    void publish() {
        const auto began = Clock::now();
        producer->publish(
            {.topic = load.topic,
             .key = std::to_string(sent++),
             .value = load.value,
             .headers = headers},
            [this, began](const Result<kafka::Position>& report) {
                check(report.has_value(), "delivered");
                latency_ms.push_back(
                    std::chrono::duration<double, std::milli>(Clock::now() - began).count());
                ++reported;
            });
    }
    void run_until(int n) {
        while (reported < n) {
            while (sent < n && sent - reported < load.outstanding) publish();
            io.run_one();
            io.poll();
        }
    }
};

KafkaRun our_produce(const KafkaLoad& load) {
    Publisher publisher{load};
    asio::co_spawn(publisher.io,
                   publisher.producer->warm({load.topic}, Deadline::in(std::chrono::seconds(10))),
                   [](const std::exception_ptr&, const Result<void>& warmed) {
                       check(warmed.has_value(), "warmed");
                   });
    publisher.run_until(1);
    publisher.latency_ms.clear();
    publisher.sent = publisher.reported = 0;
    const Meter meter;
    publisher.run_until(load.records);
    auto run = meter.stop(load.records);
    run.latency_ms = std::move(publisher.latency_ms);
    return run;
}

Task<void> consume(kafka::Consumer* consumer, int records, KafkaRun* run) {
    auto got = static_cast<int>((co_await consumer->fetch(256)).size());
    const int first = got;
    const Meter meter;
    while (got < records) {
        const auto batch = co_await consumer->fetch(256);
        consumer->store(batch.back().position);
        got += static_cast<int>(batch.size());
    }
    *run = meter.stop(got - first);
    co_await consumer->close(Deadline::in(std::chrono::seconds(5)));
}

KafkaRun our_consume(const KafkaLoad& load) {
    asio::io_context io{1};
    KafkaRun run;
    const auto consumer =
        kafka::make_consumer(io.get_executor(), {.brokers = load.brokers,
                                                 .client_id = "bench",
                                                 .group = "ours-" + base::uuid_v7().str(),
                                                 .topics = {load.topic}});
    bool done = false;
    asio::co_spawn(io, consume(consumer.get(), load.records, &run),
                   [&](const std::exception_ptr& died) {
                       check(!died, "consumed");
                       done = true;
                   });
    while (!done) io.run_one();
    return run;
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

void compare(const char* name, const char* unit, const std::vector<double>& ours,
             const std::vector<double>& floor) {
    fmt::print("{:<28} ours {:>10.2f}  floor {:>10.2f} {:<10} ratio {:.2f}\n", name, median(ours),
               median(floor), unit, median(ours) / median(floor));
}

void produce_rounds(const char* name, const KafkaLoad& load, int rounds) {
    std::vector<double> cpu[2], rate[2], p50[2], p99[2];
    for (int round = 0; round < rounds; ++round) {
        for (int who = 0; who < 2; ++who) {
            auto run = who == 0 ? our_produce(load) : floor_produce(load);
            cpu[who].push_back(run.cpu_us);
            rate[who].push_back(run.per_second);
            p50[who].push_back(run.quantile(0.5));
            p99[who].push_back(run.quantile(0.99));
        }
    }
    fmt::print("produce, {}\n", name);
    compare("  CPU", "us/record", cpu[0], cpu[1]);
    compare("  rate", "records/s", rate[0], rate[1]);
    compare("  produce to report p50", "ms", p50[0], p50[1]);
    compare("  produce to report p99", "ms", p99[0], p99[1]);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "usage: kafka_bench BROKERS [rounds]\n");
        return 2;
    }
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
    const auto admin = kafka::make_admin(argv[1]);
    const auto topic = "bench-" + base::uuid_v7().str();
    const auto created =
        admin->create({{.name = topic, .partitions = 4}}, std::chrono::seconds(10));
    check(created.has_value(), "topic created");

    produce_rounds("1 outstanding",
                   {.brokers = argv[1], .topic = topic, .records = 1'000, .outstanding = 1},
                   rounds);
    produce_rounds("256 outstanding",
                   {.brokers = argv[1], .topic = topic, .records = 50'000, .outstanding = 256},
                   rounds);

    std::vector<double> cpu[2], rate[2];
    const KafkaLoad load{.brokers = argv[1], .topic = topic, .records = 200'000};
    for (int round = 0; round < rounds; ++round) {
        for (int who = 0; who < 2; ++who) {
            const auto run = who == 0 ? our_consume(load) : floor_consume(load);
            cpu[who].push_back(run.cpu_us);
            rate[who].push_back(run.per_second);
        }
    }
    fmt::print("consume a backlog\n");
    compare("  CPU", "us/record", cpu[0], cpu[1]);
    compare("  rate", "records/s", rate[0], rate[1]);
    (void)admin->remove({topic}, std::chrono::seconds(10));
}
