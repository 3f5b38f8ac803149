#pragma once
// What the tests of both object stores share: a store under test, and calls that run its loop.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "shared/async/offload.hpp"
#include "shared/base/crypto.hpp"
#include "shared/object_store/object_store.hpp"
#include "tests/support/kafka_loop.hpp"

namespace millrace::tests {

struct ObjectBench {
    Loop loop{};
    async::Pool pool{1};
    std::unique_ptr<object_store::Store> store;

    ObjectBench() = default;
    ObjectBench(const ObjectBench&) = delete;
    ObjectBench& operator=(const ObjectBench&) = delete;
    virtual ~ObjectBench() = default;

    /// How many uploads were begun and are still there.
    [[nodiscard]] virtual std::size_t unfinished() const = 0;

    Result<object_store::Ref> put(const std::string& key, const std::vector<std::string>& pieces) {
        auto upload = loop.run(store->create(key));
        if (!upload) return std::unexpected(upload.error());
        for (const auto& piece : pieces) {
            if (auto written = loop.run((*upload)->write(piece)); !written)
                return std::unexpected(written.error());
        }
        return loop.run((*upload)->finish());
    }
    Result<std::string> get(const std::string& key, std::uint64_t bytes_max = 64 << 20) {
        return loop.run(store->read(key, bytes_max));
    }
    /// Through a file.
    Result<std::string> fetched(const std::string& key) {
        const auto into =
            std::filesystem::temp_directory_path() / ("millrace-fetched-" + base::random_token(12));
        const auto path = loop.run(store->fetch(key, into));
        if (!path) {
            check(!std::filesystem::exists(into), "what failed leaves no file");
            return std::unexpected(path.error());
        }
        std::ifstream file(*path, std::ios::binary);
        std::string bytes(std::istreambuf_iterator<char>(file), {});
        std::filesystem::remove(into);
        return bytes;
    }
    std::vector<std::string> keys(const std::string& prefix = "", const std::string& after = "",
                                  std::size_t limit = 1000) {
        const auto listed = loop.run(store->list(prefix, after, limit));
        check(listed.has_value(), "objects are listed");
        std::vector<std::string> out;
        for (const auto& object : *listed) out.push_back(object.key);
        return out;
    }
    bool remove(const std::string& key) { return loop.run(store->remove(key)).has_value(); }
};

/// Bytes in which every place looks different.
inline std::string pattern(std::size_t size) {
    std::string out(size, '\0');
    std::uint32_t state = 12345;
    for (auto& byte : out) {
        state = state * 1664525 + 1013904223;
        byte = static_cast<char>(state >> 24);
    }
    return out;
}

/// What every object store does. Called from a test case of each.
void check_object_store(ObjectBench& bench);

}  // namespace millrace::tests
