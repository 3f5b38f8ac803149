#include "shared/base/failpoint.hpp"

#include <doctest/doctest.h>

using namespace millrace::base::failpoint;

TEST_CASE("a plan names a place and what happens there") {
    const auto crash = parse("accept.committed=crash@20");
    REQUIRE(crash);
    CHECK(crash->name == "accept.committed");
    CHECK(crash->action == Plan::Action::crash);
    CHECK(crash->at == 20);
    const auto delay = parse("claim.committed=delay:300ms");
    REQUIRE(delay);
    CHECK(delay->action == Plan::Action::delay);
    CHECK(delay->pause == std::chrono::milliseconds(300));
    CHECK(delay->at == 0);
}

TEST_CASE("anything else is refused") {
    for (const auto* text :
         {"", "accept.committed", "no.such.place=crash", "accept.committed=stop", "=crash",
          "accept.committed=crash@", "accept.committed=crash@0", "accept.committed=crash@-1",
          "accept.committed=crash@2x", "accept.committed=delay:ms", "accept.committed=delay:5s"}) {
        CAPTURE(text);
        CHECK_FALSE(parse(text));
    }
}

TEST_CASE("a place that is not named does nothing, one that is delays at its passage only") {
    at("settle.before");
    arm(*parse("settle.before=delay:30ms@2"));
    const auto timed = [](const char* name) {
        const auto started = std::chrono::steady_clock::now();
        at(name);
        return std::chrono::steady_clock::now() - started;
    };
    CHECK(timed("settle.committed") < std::chrono::milliseconds(30));
    CHECK(timed("settle.before") < std::chrono::milliseconds(30));
    CHECK(timed("settle.before") >= std::chrono::milliseconds(30));
    CHECK(timed("settle.before") < std::chrono::milliseconds(30));
    armed = false;
}
