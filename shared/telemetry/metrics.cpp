#include "shared/telemetry/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace millrace::telemetry {

namespace {

std::string label_text(const Labels& labels) {
    std::string out;
    for (const auto& [name, value] : labels) {
        if (!out.empty()) out += ',';
        out += name + "=\"";
        for (const char c : value) {
            if (c == '\\' || c == '"') out += '\\';
            out += c == '\n' ? ' ' : c;
        }
        out += '"';
    }
    return out;
}

std::string braces(const std::string& labels, std::string_view more = {}) {
    if (labels.empty() && more.empty()) return {};
    return fmt::format("{{{}{}{}}}", labels, labels.empty() || more.empty() ? "" : ",", more);
}

}  // namespace

void Histogram::observe(double value) noexcept {
    const auto at = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
    ++counts_[static_cast<std::size_t>(at)];
    ++count_;
    sum_ += value;
}

Registry::Entry* Registry::find(const std::string& name, const std::string& labels) {
    const auto at = std::ranges::find_if(
        entries_, [&](const Entry& e) { return e.name == name && e.labels == labels; });
    return at == entries_.end() ? nullptr : &*at;
}

Counter& Registry::counter(std::string name, std::string help, Labels labels) {
    auto text = label_text(labels);
    if (const auto* known = find(name, text)) return counters_[known->index];
    entries_.push_back({std::move(name), std::move(help), "counter", std::move(text), Kind::counter,
                        counters_.size()});
    return counters_.emplace_back();
}

Gauge& Registry::gauge(std::string name, std::string help, Labels labels) {
    auto text = label_text(labels);
    if (const auto* known = find(name, text)) return gauges_[known->index];
    entries_.push_back(
        {std::move(name), std::move(help), "gauge", std::move(text), Kind::gauge, gauges_.size()});
    return gauges_.emplace_back();
}

Histogram& Registry::histogram(std::string name, std::string help, Labels labels,
                               std::vector<double> bounds) {
    auto text = label_text(labels);
    if (const auto* known = find(name, text)) return histograms_[known->index];
    entries_.push_back({std::move(name), std::move(help), "histogram", std::move(text),
                        Kind::histogram, histograms_.size()});
    return histograms_.emplace_back(std::move(bounds));
}

void Registry::observe(std::string name, std::string help, std::string type,
                       std::function<double()> read) {
    entries_.push_back(
        {std::move(name), std::move(help), std::move(type), {}, Kind::function, functions_.size()});
    functions_.push_back(std::move(read));
}

std::string Registry::text() const {
    std::string out;
    auto sorted = entries_;  // rows of one name must stand together
    std::ranges::sort(sorted, {}, [](const Entry& e) { return std::tie(e.name, e.labels); });
    std::string_view last;
    for (const auto& e : sorted) {
        if (e.name != last)
            out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", e.name, e.help, e.name, e.type);
        last = e.name;
        switch (e.kind) {
            case Kind::counter:
                out +=
                    fmt::format("{}{} {}\n", e.name, braces(e.labels), counters_[e.index].value());
                break;
            case Kind::gauge:
                out += fmt::format("{}{} {}\n", e.name, braces(e.labels), gauges_[e.index].value());
                break;
            case Kind::function:
                out += fmt::format("{} {}\n", e.name, functions_[e.index]());
                break;
            case Kind::histogram: {
                const auto& h = histograms_[e.index];
                std::uint64_t below = 0;
                for (std::size_t i = 0; i < h.bounds_.size(); ++i) {
                    below += h.counts_[i];
                    out += fmt::format("{}_bucket{} {}\n", e.name,
                                       braces(e.labels, fmt::format("le=\"{}\"", h.bounds_[i])),
                                       below);
                }
                out += fmt::format("{}_bucket{} {}\n{}_sum{} {}\n{}_count{} {}\n", e.name,
                                   braces(e.labels, "le=\"+Inf\""), h.count_, e.name,
                                   braces(e.labels), h.sum_, e.name, braces(e.labels), h.count_);
                break;
            }
        }
    }
    return out;
}

}  // namespace millrace::telemetry
