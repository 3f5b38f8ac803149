#pragma once
// Configuration from the environment only; this folder alone reads it. Every problem is collected,
// none is fatal by itself.

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::config {

/// One variable as a person reads about it.
struct Setting {
    std::string name, value, otherwise, meaning;
    bool secret = false;
};

class Loader {
 public:
    /// The process's environment, or a given one (tests).
    Loader();
    explicit Loader(std::map<std::string, std::string> environment)
        : environment_(std::move(environment)) {}

    std::string text(std::string name, std::string otherwise, std::string meaning);
    /// Must be set and not empty.
    std::string required(std::string name, std::string meaning);
    /// Never shown; `bytes_min` guards against toys.
    std::string secret(std::string name, std::size_t bytes_min, bool needed, std::string meaning);
    std::int64_t integer(std::string name, std::int64_t otherwise, std::int64_t min,
                         std::int64_t max, std::string meaning);
    /// "250ms", "5s", "10m", "24h".
    std::chrono::milliseconds span(std::string name, std::chrono::milliseconds otherwise,
                                   std::chrono::milliseconds min, std::chrono::milliseconds max,
                                   std::string meaning);
    bool flag(std::string name, bool otherwise, std::string meaning);
    std::string choice(std::string name, std::string otherwise,
                       std::initializer_list<std::string_view> choices, std::string meaning);
    /// Comma-separated; empty entries are dropped.
    std::vector<std::string> list(std::string name, std::string otherwise, std::string meaning);

    /// A rule of the caller's own.
    void problem(std::string what) { problems_.push_back(std::move(what)); }
    /// Variables of our prefix that nobody has asked for and that are not in `known` are problems
    /// too.
    void refuse_unknown(const std::vector<std::string>& known);

    [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }
    [[nodiscard]] const std::vector<Setting>& settings() const noexcept { return settings_; }

 private:
    const std::string* find(const std::string& name) const;
    void note(std::string name, std::string value, std::string otherwise, std::string meaning,
              bool secret = false);

    std::map<std::string, std::string> environment_;
    std::vector<Setting> settings_;
    std::vector<std::string> problems_;
};

}  // namespace millrace::config
