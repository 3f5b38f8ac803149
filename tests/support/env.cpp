#include "tests/support/env.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

namespace millrace::tests {

std::optional<std::string> optional_env(const char* name) {
    const char* value =
        std::getenv(name);  // NOLINT(concurrency-mt-unsafe): tests read it before any thread exists
    return value ? std::optional<std::string>(value) : std::nullopt;
}

std::string require_env(const char* name) {
    auto value = optional_env(name);
    if (!value)
        FAIL(std::string(name)
             << " is not set: run this test through scripts/test, which starts the servers");
    return *value;
}

std::optional<std::filesystem::path> reference_folder() {
    const std::filesystem::path beside = "../shared";
    if (std::filesystem::exists(beside / "data")) return beside;
    std::puts("the reference folder ../shared is absent: nothing to read here");
    return std::nullopt;
}

}  // namespace millrace::tests
