// shared/object_store: what every store does, as one list; and of the store in a folder, that keys
// stay below it.

#include <doctest/doctest.h>
#include <unistd.h>

#include "shared/object_store/local_store.hpp"
#include "tests/support/object_bench.hpp"

using namespace millrace;
namespace fs = std::filesystem;

namespace {

/// A store on a folder that goes with the test.
struct Bench final : tests::ObjectBench {
    fs::path root = fs::temp_directory_path() / ("millrace-objects-" + base::random_token(12));

    Bench() { store = object_store::make_local_store(loop.executor(), pool, root); }
    ~Bench() override {
        store.reset();
        fs::remove_all(root);
    }
    [[nodiscard]] std::size_t unfinished() const override {
        return static_cast<std::size_t>(
            std::distance(fs::directory_iterator(root / ".uploading"), {}));
    }
    [[nodiscard]] std::size_t files() const {
        std::size_t count = 0;
        for (const auto& entry : fs::recursive_directory_iterator(root)) {
            count += entry.is_regular_file() ? 1 : 0;
        }
        return count;
    }
};

}  // namespace

namespace millrace::tests {

namespace {

constexpr std::size_t k_part = 5 << 20;

/// From nothing to more than two parts, written in pieces that fit no part.
void check_sizes(ObjectBench& bench) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, k_part - 1, k_part, k_part + 1,
                                   2 * k_part, 2 * k_part + 700'001}) {
        CAPTURE(size);
        const auto whole = pattern(size);
        std::vector<std::string> pieces;
        for (std::size_t at = 0; at < size; at += 999'983)
            pieces.push_back(whole.substr(at, 999'983));
        const auto ref = bench.put("sizes/one", pieces);
        REQUIRE(ref);
        CHECK(ref->key == "sizes/one");
        CHECK(ref->size == size);
        CHECK(ref->sha256 == base::hex(base::sha256(whole)));
        CHECK(bench.get("sizes/one") == whole);
        CHECK(bench.fetched("sizes/one") == whole);
    }
    REQUIRE(bench.put("sizes/whole", {pattern(2 * k_part + 5)}));
    CHECK(bench.get("sizes/whole") == pattern(2 * k_part + 5));
    CHECK(bench.unfinished() == 0);
    CHECK(bench.remove("sizes/one"));
    CHECK(bench.remove("sizes/whole"));
}

void check_cut_upload(ObjectBench& bench) {
    for (const std::size_t size : {std::size_t{600'000}, 2 * k_part + 1}) {
        CAPTURE(size);
        {
            auto upload = bench.loop.run(bench.store->create("cut/one"));
            REQUIRE(upload);
            REQUIRE(bench.loop.run((*upload)->write(std::string(size, 'y'))));
            CHECK(bench.get("cut/one").error().code == ErrorCode::not_found);
        }
        CHECK(bench.loop.until([&] { return bench.unfinished() == 0; }));
        CHECK(bench.keys().empty());
    }
}

void check_limits(ObjectBench& bench) {
    REQUIRE(bench.put("t/three", {"0123456789"}));
    CHECK(bench.get("t/three", 9).error().code == ErrorCode::too_large);
    CHECK(bench.get("t/three", 10) == "0123456789");
    CHECK(bench.get("t/none").error().code == ErrorCode::not_found);
    CHECK(bench.get("t/three/below").error().code == ErrorCode::not_found);
    CHECK(bench.fetched("t/none").error().code == ErrorCode::not_found);
    CHECK(bench.remove("t/three"));
    CHECK(bench.remove("t/three"));
    CHECK(bench.remove("t/three/below"));
    CHECK(bench.get("t/three").error().code == ErrorCode::not_found);
}

void check_list(ObjectBench& bench) {
    const auto before = std::chrono::system_clock::now() - std::chrono::seconds(2);
    const std::vector<std::string> all{"a-/x", "a.b/x", "a/b",  "a/b.c", "a/c/d",
                                       "a/c0", "a0",    "aB/x", "b/x",   "b/x-1"};
    for (const auto& key : all) REQUIRE(bench.put(key, {key}));
    CHECK(bench.keys() == all);
    CHECK(bench.keys("a/") == std::vector<std::string>{"a/b", "a/b.c", "a/c/d", "a/c0"});
    CHECK(bench.keys("a/c") == std::vector<std::string>{"a/c/d", "a/c0"});
    CHECK(bench.keys("none").empty());
    CHECK(bench.keys("", "a/c/d") ==
          std::vector<std::string>{"a/c0", "a0", "aB/x", "b/x", "b/x-1"});
    CHECK(bench.keys("", "a/c/e", 2) == std::vector<std::string>{"a/c0", "a0"});
    CHECK(bench.keys("", "b/x-1").empty());
    std::vector<std::string> paged;
    for (auto page = bench.keys("", "", 3); !page.empty(); page = bench.keys("", paged.back(), 3))
        paged.insert(paged.end(), page.begin(), page.end());
    CHECK(paged == all);
    const auto listed = bench.loop.run(bench.store->list("b/x-", "", 10));
    REQUIRE(listed);
    REQUIRE(listed->size() == 1);
    CHECK(listed->front().size == 5);
    CHECK(listed->front().modified >= before);
    CHECK(listed->front().modified <= std::chrono::system_clock::now() + std::chrono::seconds(2));
    for (const auto& key : all) CHECK(bench.remove(key));
}

void check_unfinished(ObjectBench& bench) {
    auto upload = bench.loop.run(bench.store->create("old/one"));
    REQUIRE(upload);
    REQUIRE(bench.loop.run((*upload)->write(pattern(k_part + 1))));
    const auto now = std::chrono::system_clock::now();
    const auto hour = std::chrono::hours(1);
    CHECK(bench.unfinished() == 1);
    CHECK(bench.loop.run(bench.store->discard_unfinished(now - hour)) == 0);
    CHECK(bench.unfinished() == 1);
    CHECK(bench.loop.run(bench.store->discard_unfinished(now + hour)) == 1);
    CHECK(bench.unfinished() == 0);
    CHECK_FALSE(bench.loop.run((*upload)->finish()));
    CHECK(bench.keys().empty());
}

}  // namespace

void check_object_store(ObjectBench& bench) {
    check_sizes(bench);
    check_cut_upload(bench);
    check_limits(bench);
    check_list(bench);
    check_unfinished(bench);
}

}  // namespace millrace::tests

TEST_CASE("a folder does what every object store does") {
    Bench bench;
    tests::check_object_store(bench);
    bench.loop.run(bench.store->close());
}

TEST_CASE("keys stay below the root") {
    Bench bench;
    for (const auto* key :
         {"../x", "a/../../x", "/etc/passwd", "a//b", ".hidden", "a/.b", "", "a b", "a\\b", "a/"}) {
        CAPTURE(key);
        CHECK(bench.put(key, {"x"}).error().code == ErrorCode::invalid);
        CHECK(bench.get(key).error().code == ErrorCode::invalid);
    }
    CHECK(bench.files() == 0);
}

TEST_CASE("a store that cannot be written says so and is there again afterwards") {
    if (::geteuid() == 0) {
        // Root writes everywhere: a file in the place of the folder does what missing rights would.
        Bench bench;
        fs::remove_all(bench.root / ".uploading");
        std::ofstream(bench.root / ".uploading") << "in the way";
        CHECK(bench.put("t/five", {"x"}).error().code == ErrorCode::unavailable);
        fs::remove(bench.root / ".uploading");
        fs::create_directory(bench.root / ".uploading");
        CHECK(bench.put("t/five", {"x"}));
    } else {
        Bench bench;
        fs::permissions(bench.root / ".uploading", fs::perms::owner_read);
        CHECK(bench.put("t/five", {"x"}).error().code == ErrorCode::unavailable);
        fs::permissions(bench.root / ".uploading", fs::perms::owner_all);
        CHECK(bench.put("t/five", {"x"}));
    }
}
