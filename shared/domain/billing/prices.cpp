#include "shared/domain/billing/prices.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <sstream>

namespace millrace::domain::billing {

namespace {

constexpr double k_per_million = 1e-6;
constexpr double k_price_max = 1e6;

std::unexpected<Error> bad_price(const YAML::Node& row, std::string_view why) {
    return fail(ErrorCode::invalid, fmt::format("prices: line {}: {}", row.Mark().line + 1, why));
}

}  // namespace

Result<Prices> Prices::load(const std::string& file) {
    if (file.empty()) return parse(k_embedded_prices);
    const std::ifstream in(file);
    if (!in)
        return fail(ErrorCode::invalid,
                    fmt::format("MILLRACE_PRICES_FILE: {} cannot be read", file));
    std::ostringstream text;
    text << in.rdbuf();
    return parse(text.str());
}

Result<Prices> Prices::parse(std::string_view yaml) {
    Prices out;
    try {
        const auto document = YAML::Load(std::string(yaml));
        if (!document["models"] || !document["models"].IsSequence())
            return bad_price(document, "'models' must be a list");
        for (const auto& row : document["models"]) {
            if (!row["model"] || !row["input"] || !row["output"])
                return bad_price(row, "model, input and output are needed");
            const Price price{row["input"].as<double>(), row["output"].as<double>()};
            const auto sane = [](double usd) { return usd >= 0 && usd <= k_price_max; };
            if (!sane(price.input) || !sane(price.output))
                return bad_price(row, "a price must be 0 to 1,000,000 USD");
            if (!out.prices_.emplace(row["model"].as<std::string>(), price).second)
                return bad_price(row, "the model is there twice");
        }
    } catch (const YAML::Exception& e) {
        return fail(ErrorCode::invalid, fmt::format("prices: {}", e.what()));
    }
    return out;
}

/// The name itself, or the longest name that it begins with.
const Prices::Price* Prices::find(std::string_view model) const {
    const Price* best = nullptr;
    std::size_t length = 0;
    for (const auto& [name, price] : prices_) {
        const bool fits = model == name ||
                          (model.starts_with(name) && model.substr(name.size()).starts_with('-'));
        if (fits && name.size() >= length) {
            best = &price;
            length = name.size();
        }
    }
    return best;
}

double Prices::cost(std::string_view model, std::int64_t tokens_in, std::int64_t tokens_out) const {
    const auto* price = find(model);
    if (price == nullptr) return 0;
    return (static_cast<double>(tokens_in) * price->input +
            static_cast<double>(tokens_out) * price->output) *
           k_per_million;
}

}  // namespace millrace::domain::billing
