// Who gets a place, who waits, who is refused.

#include <doctest/doctest.h>

#include <boost/asio/co_spawn.hpp>
#include <memory>
#include <string>
#include <vector>

#include "edge/middleware/admission.hpp"
#include "edge/middleware/memory_guard.hpp"
#include "edge/server/peers.hpp"

using namespace millrace;
using namespace millrace::edge::middleware;
using namespace std::chrono_literals;

namespace {

/// Feeds `windows` windows of equal latencies.
void feed(ConcurrencyLimit& limit, base::SteadyTime& now, std::chrono::nanoseconds latency,
          std::size_t in_flight, int windows) {
    for (int i = 0; i < windows * 20; ++i) limit.sample(now += 10ms, latency, in_flight);
}

struct Bench {
    asio::io_context io{1};
    Admission admission;
    std::string order;  ///< who was granted or refused, as it happened
    std::vector<Admission::Ticket> held;

    explicit Bench(AdmissionOptions options) : admission(io.get_executor(), options) {}

    Task<void> come(std::string name, Priority priority, Admission::Tenant tenant) {
        auto decided = admission.decide(priority, tenant);
        auto ticket = decided ? std::move(*decided) : co_await admission.wait(priority, tenant);
        order += ticket ? name : ticket.error().code == ErrorCode::rate_limited ? "%" : "!";
        if (ticket) held.push_back(std::move(*ticket));
    }
    void start(std::string name, Priority priority, Admission::Tenant tenant) {
        asio::co_spawn(io, come(std::move(name), priority, tenant), [](std::exception_ptr thrown) {
            if (thrown) std::rethrow_exception(thrown);
        });
        settle();
    }
    void settle() {
        io.restart();
        while (io.poll_one() > 0) continue;
    }
    void give_back(std::size_t which = 0) {
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        settle();
    }
    void run_until_all_decided() {
        io.restart();
        io.run();
    }
};

AdmissionOptions places(std::size_t count) {
    return {.places_min = count, .places_start = count, .places_max = count};
}

}  // namespace

TEST_CASE("slowness takes places away, down to the floor; speed gives them back") {
    ConcurrencyLimit limit({.places_min = 16, .places_start = 256, .places_max = 1000});
    base::SteadyTime now{1h};
    feed(limit, now, 5ms, 256, 2);
    CHECK(limit.places() > 256);
    feed(limit, now, 2s, 256, 40);
    CHECK(limit.places() < 40);
    CHECK(limit.places() >= 16);
    feed(limit, now, 5ms, 1000, 100);
    CHECK(limit.places() == 1000);
}

TEST_CASE("places that nobody asks for are not added") {
    ConcurrencyLimit limit({.places_start = 256});
    base::SteadyTime now{1h};
    feed(limit, now, 5ms, 3, 100);
    CHECK(limit.places() == 256);
}

TEST_CASE("what is best is found anew: slow times do not become the measure, nor do fast ones") {
    ConcurrencyLimit limit({.places_start = 256});
    base::SteadyTime now{1h};
    feed(limit, now, 1ms, 10, 2);
    CHECK(limit.best() == 1ms);
    feed(limit, now, 40ms, 10, 1000);  // 200 s: at least two probes
    CHECK(limit.best() == 40ms);
}

TEST_CASE("health is always admitted; the others up to the limit, then in line") {
    Bench bench(places(2));
    bench.start("a", Priority::write, 1);
    bench.start("b", Priority::write, 1);
    bench.start("c", Priority::write, 1);
    CHECK(bench.order == "ab");
    bench.start("h", Priority::health, 1);
    CHECK(bench.admission.stats().waiting == 1);
    bench.give_back();
    CHECK(bench.order == "abhc");
    CHECK(bench.admission.stats().in_flight == 2);
    bench.held.clear();
    CHECK(bench.admission.stats().in_flight == 0);
}

TEST_CASE("reads go before writes, tenants in turn") {
    Bench bench(places(1));
    bench.start("0", Priority::write, 9);
    bench.start("w", Priority::write, 1);
    for (const char* name : {"a", "b", "c"}) bench.start(name, Priority::read, 1);
    bench.start("z", Priority::read, 2);
    for (int i = 0; i < 5; ++i) bench.give_back();
    CHECK(bench.order == "0azbcw");
}

TEST_CASE("a line that does not move ends in a refusal, and leaves nothing behind") {
    auto options = places(1);
    options.wait_burst = 20ms;
    Bench bench(options);
    bench.start("a", Priority::read, 1);
    bench.start("b", Priority::read, 1);
    bench.run_until_all_decided();
    CHECK(bench.order == "a!");
    CHECK(bench.admission.stats().waiting == 0);
    CHECK(bench.admission.stats().shed_full == 1);
    bench.give_back();
    bench.start("c", Priority::read, 1);
    CHECK(bench.order == "a!c");
}

TEST_CASE("the line has an end, and one tenant may only be a quarter of it") {
    auto options = places(1);
    options.waiting_max = 8;
    Bench bench(options);
    bench.start("a", Priority::read, 1);
    for (int i = 0; i < 3; ++i) bench.start("b", Priority::read, 1);
    CHECK(bench.order == "a%");  // the third
    for (Admission::Tenant tenant = 2; tenant < 8; ++tenant)
        bench.start("c", Priority::read, tenant);
    CHECK(bench.admission.stats().waiting == 8);
    bench.start("d", Priority::read, 8);
    CHECK(bench.order == "a%!");
    bench.run_until_all_decided();
}

TEST_CASE("a tenant alone may have all places, beside others its share") {
    Bench bench(places(64));
    for (int i = 0; i < 64; ++i) bench.start("a", Priority::write, 1);
    CHECK(bench.order == std::string(64, 'a'));
    bench.held.clear();
    bench.order.clear();
    bench.start("o", Priority::write, 2);
    for (int i = 0; i < 20; ++i) bench.start("a", Priority::write, 1);
    CHECK(bench.order == "o" + std::string(16, 'a'));  // 64 / (2 × 2 tenants)
    bench.start("p", Priority::write, 3);
    CHECK(bench.order.back() == 'p');
    bench.held.clear();
    bench.settle();
    bench.run_until_all_decided();
}

TEST_CASE("uploads and visitors are counted on their own") {
    auto options = places(1);
    options.uploads_max = 2;
    options.visitors_max = 1;
    Bench bench(options);
    bench.start("u", Priority::upload, 1);
    bench.start("v", Priority::upload, 1);  // half of them is the most for one
    bench.start("v", Priority::upload, 2);
    bench.start("w", Priority::upload, 3);
    bench.start("l", Priority::visitor, 1);
    bench.start("m", Priority::visitor, 1);
    bench.start("a", Priority::write, 1);
    CHECK(bench.order == "u%v!l!a");
    bench.give_back();
    bench.admission.refuse_uploads(true);
    bench.start("x", Priority::upload, 1);
    bench.admission.refuse_uploads(false);
    bench.start("y", Priority::upload, 1);
    CHECK(bench.order == "u%v!l!a!y");
}

TEST_CASE("a tenant's rate is its own, a second's worth at once") {
    auto options = places(64);
    options.tenant_rate = 5;
    Bench bench(options);
    for (int i = 0; i < 7; ++i) bench.start("a", Priority::read, 1);
    CHECK(bench.order == "aaaaa%%");
    bench.start("b", Priority::read, 2);
    CHECK(bench.order == "aaaaa%%b");
}

TEST_CASE("accounts are forgotten, and have a cap") {
    auto options = places(64);
    options.tenants_max = 4;
    Bench bench(options);
    for (Admission::Tenant tenant = 1; tenant < 100; ++tenant)
        bench.start("a", Priority::read, tenant);
    CHECK(bench.admission.stats().tenants <= 5);
    bench.held.clear();
    bench.run_until_all_decided();
}

TEST_CASE("an address holds so many connections, loopback any number") {
    using edge::server::Peers;
    const auto of = [](const char* text) { return boost::asio::ip::make_address(text); };
    Peers peers(2);
    CHECK(peers.enter(of("192.0.2.1")));
    CHECK(peers.enter(of("192.0.2.1")));
    CHECK_FALSE(peers.enter(of("192.0.2.1")));
    CHECK(peers.enter(of("192.0.2.2")));
    peers.leave(of("192.0.2.1"));
    CHECK(peers.enter(of("192.0.2.1")));
    CHECK(peers.enter(of("2001:db8::1")));
    CHECK(peers.enter(of("2001:db8::2")));
    CHECK_FALSE(peers.enter(of("2001:db8::3")));  // the same /64
    CHECK(peers.enter(of("2001:db8:0:1::1")));
    for (int i = 0; i < 10; ++i) CHECK((peers.enter(of("127.0.0.1")) && peers.enter(of("::1"))));
    CHECK(peers.size() == 4);
    for (const char* one :
         {"192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"})
        peers.leave(of(one));
    CHECK(peers.size() == 0);
}

TEST_CASE("memory pressure has two steps") {
    using edge::server::Pressure;
    CHECK(pressure_of(84, 100) == Pressure::none);
    CHECK(pressure_of(86, 100) == Pressure::high);
    CHECK(pressure_of(96, 100) == Pressure::critical);
    CHECK(pressure_of(1'000'000, 0) == Pressure::none);
    CHECK(resident_bytes() > 100'000);
}
