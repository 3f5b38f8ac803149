#pragma once
// Prometheus metrics of one process: registered once, then plain additions on the io thread. Labels
// are fixed at registration and never hold a tenant, a user or anything else without a bound.

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::telemetry {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
    void add(std::uint64_t by = 1) noexcept { value_ += by; }
    [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

 private:
    std::uint64_t value_ = 0;
};

class Gauge {
 public:
    void set(double value) noexcept { value_ = value; }
    [[nodiscard]] double value() const noexcept { return value_; }

 private:
    double value_ = 0;
};

class Histogram {
 public:
    explicit Histogram(std::vector<double> bounds)
        : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
    void observe(double value) noexcept;
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

 private:
    friend class Registry;
    std::vector<double> bounds_;  ///< upper bounds, rising
    std::vector<std::uint64_t> counts_;
    std::uint64_t count_ = 0;
    double sum_ = 0;
};

class Registry {
 public:
    /// References stay valid as long as the registry. The same name and labels give the same
    /// metric.
    Counter& counter(std::string name, std::string help, Labels labels);
    Gauge& gauge(std::string name, std::string help, Labels labels);
    Histogram& histogram(std::string name, std::string help, Labels labels,
                         std::vector<double> bounds);
    /// A value that is asked for when somebody looks. `type` is "gauge" or "counter".
    void observe(std::string name, std::string help, std::string type,
                 std::function<double()> read);

    /// Text exposition format 0.0.4.
    [[nodiscard]] std::string text() const;

 private:
    enum class Kind : std::uint8_t { counter, gauge, histogram, function };
    struct Entry {
        std::string name, help, type, labels;
        Kind kind;
        std::size_t index;
    };
    Entry* find(const std::string& name, const std::string& labels);

    std::vector<Entry> entries_;
    std::deque<Counter> counters_;
    std::deque<Gauge> gauges_;
    std::deque<Histogram> histograms_;
    std::deque<std::function<double()>> functions_;
};

}  // namespace millrace::telemetry
