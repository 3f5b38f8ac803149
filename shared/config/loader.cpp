#include "shared/config/loader.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace millrace::config {

namespace {

constexpr std::string_view k_prefix = "MILLRACE_";

std::string show(std::chrono::milliseconds span) {
    if (span.count() % 1000 != 0 || span.count() == 0) return fmt::format("{}ms", span.count());
    return fmt::format("{}s", span.count() / 1000);
}

/// Levenshtein distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        auto diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const auto above = row[j];
            row[j] =
                std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
            diagonal = above;
        }
    }
    return row.back();
}

}  // namespace

Loader::Loader() {
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const auto equal = text.find('=');
        if (text.starts_with(k_prefix) && equal != std::string_view::npos)
            environment_.emplace(text.substr(0, equal), text.substr(equal + 1));
    }
}

const std::string* Loader::find(const std::string& name) const {
    const auto at = environment_.find(name);
    return at == environment_.end() || at->second.empty() ? nullptr : &at->second;
}

void Loader::note(std::string name, std::string value, std::string otherwise, std::string meaning,
                  bool secret) {
    settings_.push_back(
        {std::move(name), std::move(value), std::move(otherwise), std::move(meaning), secret});
}

std::string Loader::text(std::string name, std::string otherwise, std::string meaning) {
    const auto* given = find(name);
    auto value = given ? *given : otherwise;
    note(std::move(name), value, std::move(otherwise), std::move(meaning));
    return value;
}

std::string Loader::required(std::string name, std::string meaning) {
    if (!find(name)) problem(fmt::format("{} is not set: {}", name, meaning));
    return text(std::move(name), "", std::move(meaning));
}

std::string Loader::secret(std::string name, std::size_t bytes_min, bool needed,
                           std::string meaning) {
    const auto* given = find(name);
    const std::string value = given ? *given : "";
    if (!given && needed) problem(fmt::format("{} is not set: {}", name, meaning));
    if (given && value.size() < bytes_min)
        problem(fmt::format("{} must have at least {} bytes", name, bytes_min));
    note(std::move(name), value.empty() ? "" : "***", "", std::move(meaning), true);
    return value;
}

std::int64_t Loader::integer(std::string name, std::int64_t otherwise, std::int64_t min,
                             std::int64_t max, std::string meaning) {
    auto value = otherwise;
    if (const auto* given = find(name)) {
        const auto [end, ec] = std::from_chars(given->data(), given->data() + given->size(), value);
        if (ec != std::errc{} || end != given->data() + given->size() || value < min ||
            value > max) {
            problem(fmt::format("{} must be an integer between {} and {}, not '{}'", name, min, max,
                                *given));
            value = otherwise;
        }
    }
    note(std::move(name), std::to_string(value), std::to_string(otherwise), std::move(meaning));
    return value;
}

std::chrono::milliseconds Loader::span(std::string name, std::chrono::milliseconds otherwise,
                                       std::chrono::milliseconds min, std::chrono::milliseconds max,
                                       std::string meaning) {
    auto value = otherwise;
    if (const auto* given = find(name)) {
        std::int64_t number = -1;
        const auto [end, ec] =
            std::from_chars(given->data(), given->data() + given->size(), number);
        const std::string_view unit(end,
                                    static_cast<std::size_t>(given->data() + given->size() - end));
        const std::int64_t scale = unit == "ms"  ? 1
                                   : unit == "s" ? 1000
                                   : unit == "m" ? 60'000
                                   : unit == "h" ? 3'600'000
                                                 : 0;
        const bool shaped = ec == std::errc{} && number >= 0 && number < 1'000'000'000 && scale > 0;
        value = std::chrono::milliseconds(shaped ? number * scale : 0);
        if (!shaped || value < min || value > max) {
            problem(fmt::format(
                "{} must be a time span between {} and {}, such as 500ms or 30s, not '{}'", name,
                show(min), show(max), *given));
            value = otherwise;
        }
    }
    note(std::move(name), show(value), show(otherwise), std::move(meaning));
    return value;
}

bool Loader::flag(std::string name, bool otherwise, std::string meaning) {
    auto value = otherwise;
    if (const auto* given = find(name)) {
        value = *given == "1" || *given == "true";
        if (!value && *given != "0" && *given != "false")
            problem(fmt::format("{} must be 1 or 0, not '{}'", name, *given));
    }
    note(std::move(name), value ? "1" : "0", otherwise ? "1" : "0", std::move(meaning));
    return value;
}

std::string Loader::choice(std::string name, std::string otherwise,
                           std::initializer_list<std::string_view> choices, std::string meaning) {
    auto value = text(name, std::move(otherwise), std::move(meaning));
    if (std::ranges::find(choices, value) == choices.end()) {
        problem(
            fmt::format("{} must be one of {}, not '{}'", name, fmt::join(choices, ", "), value));
    }
    return value;
}

std::vector<std::string> Loader::list(std::string name, std::string otherwise,
                                      std::string meaning) {
    const auto all = text(std::move(name), std::move(otherwise), std::move(meaning));
    std::vector<std::string> out;
    std::string_view rest = all;
    while (!rest.empty()) {
        const auto comma = std::min(rest.find(','), rest.size());
        auto item = rest.substr(0, comma);
        rest.remove_prefix(std::min(comma + 1, rest.size()));
        const auto first = item.find_first_not_of(' ');
        if (first != std::string_view::npos)
            out.emplace_back(item.substr(first, item.find_last_not_of(' ') - first + 1));
    }
    return out;
}

void Loader::refuse_unknown(const std::vector<std::string>& known) {
    for (const auto& [name, value] : environment_) {
        const bool ours = std::ranges::find(known, name) != known.end() ||
                          std::ranges::find(settings_, name, &Setting::name) != settings_.end();
        if (ours) continue;
        const auto nearest = std::ranges::min_element(
            known, {}, [&name](const std::string& k) { return distance(name, k); });
        const bool close = nearest != known.end() && distance(name, *nearest) <= 3;
        problem(fmt::format("{} is not a setting{}", name,
                            close ? fmt::format(": did you mean {}?", *nearest) : ""));
    }
}

}  // namespace millrace::config
