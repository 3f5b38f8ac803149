// shared/object_store/local_store: objects appear whole or not at all, and keys stay below the
// root.

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "shared/base/crypto.hpp"
#include "shared/object_store/local_store.hpp"
#include "tests/support/kafka_loop.hpp"

using namespace millrace;
using millrace::tests::Loop;
namespace fs = std::filesystem;

namespace {

/// A store on a folder that goes with the test.
struct Bench {
    fs::path root = fs::temp_directory_path() / ("millrace-objects-" + base::random_token(12));
    Loop loop{};
    async::Pool pool{1};
    std::unique_ptr<object_store::Store> store =
        object_store::make_local_store(loop.executor(), pool, root);

    Bench() = default;
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;
    ~Bench() {
        store.reset();
        fs::remove_all(root);
    }

    Result<object_store::Ref> put(const std::string& key, const std::vector<std::string>& pieces) {
        auto upload = loop.run(store->create(key));
        if (!upload) return std::unexpected(upload.error());
        for (const auto& piece : pieces) {
            if (auto written = loop.run((*upload)->write(piece)); !written) {
                return std::unexpected(written.error());
            }
        }
        return loop.run((*upload)->finish());
    }
    Result<std::string> get(const std::string& key, std::uint64_t bytes_max = 1 << 20) {
        return loop.run(store->read(key, bytes_max));
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

TEST_CASE("an object comes back byte for byte, with its size and digest") {
    Bench bench;
    const std::string large(700'000, 'x');
    const auto ref = bench.put("tenant/one", {"a", large, "end"});
    REQUIRE(ref);
    const auto whole = std::string("a") + large + "end";
    CHECK(ref->key == "tenant/one");
    CHECK(ref->size == whole.size());
    CHECK(ref->sha256 == base::hex(base::sha256(whole)));
    CHECK(bench.get("tenant/one") == whole);
    CHECK(bench.put("tenant/empty", {})->size == 0);
    CHECK(bench.get("tenant/empty") == "");
}

TEST_CASE("nothing is visible before finish, and an unfinished upload leaves nothing") {
    Bench bench;
    {
        auto upload = bench.loop.run(bench.store->create("tenant/two"));
        REQUIRE(upload);
        REQUIRE(bench.loop.run((*upload)->write(std::string(600'000, 'y'))));
        CHECK(bench.get("tenant/two").error().code == ErrorCode::not_found);
    }
    CHECK(bench.files() == 0);
}

TEST_CASE("reading is bounded, and fetch gives a file of its own name") {
    Bench bench;
    REQUIRE(bench.put("t/three", {"0123456789"}));
    CHECK(bench.get("t/three", 9).error().code == ErrorCode::too_large);
    CHECK(bench.get("t/three", 10) == "0123456789");
    const auto into = bench.root.string() + ".fetched";
    REQUIRE(bench.loop.run(bench.store->fetch("t/three", into)));
    std::ifstream file(into);
    CHECK(std::string(std::istreambuf_iterator<char>(file), {}) == "0123456789");
    fs::remove(into);
}

TEST_CASE("removal is idempotent") {
    Bench bench;
    REQUIRE(bench.put("t/four", {"x"}));
    CHECK(bench.loop.run(bench.store->remove("t/four")));
    CHECK(bench.loop.run(bench.store->remove("t/four")));
    CHECK(bench.get("t/four").error().code == ErrorCode::not_found);
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
