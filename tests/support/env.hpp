#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace millrace::tests {

/// The value of a variable that scripts/test sets; fails the running test when it is unset.
std::string require_env(const char* name);
std::optional<std::string> optional_env(const char* name);

/// The reference folder beside the project (contracts, data), or nullopt after printing why the
/// test has nothing to read.
std::optional<std::filesystem::path> reference_folder();

}  // namespace millrace::tests
