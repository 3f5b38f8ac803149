#include "shared/base/failpoint.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <thread>

namespace millrace::base::failpoint {

namespace {

Plan the_plan;
int passages = 0;

std::optional<int> number(std::string_view text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < 1) return std::nullopt;
    return value;
}

}  // namespace

std::optional<Plan> parse(std::string_view text) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    Plan plan{.action = Plan::Action::crash, .name = std::string(text.substr(0, equals))};
    if (std::ranges::find(k_names, plan.name) == std::end(k_names)) return std::nullopt;
    auto action = text.substr(equals + 1);
    if (const auto sign = action.find('@'); sign != std::string_view::npos) {
        const auto at = number(action.substr(sign + 1));
        if (!at) return std::nullopt;
        plan.at = *at;
        action = action.substr(0, sign);
    }
    if (action == "crash") return plan;
    constexpr std::string_view delay = "delay:", unit = "ms";
    if (!action.starts_with(delay) || !action.ends_with(unit)) return std::nullopt;
    action.remove_prefix(delay.size());
    const auto pause = number(action.substr(0, action.size() - unit.size()));
    if (!pause) return std::nullopt;
    plan.action = Plan::Action::delay;
    plan.pause = std::chrono::milliseconds(*pause);
    return plan;
}

void arm(Plan plan) {
    the_plan = std::move(plan);
    passages = 0;
    armed = true;
}

void passed(std::string_view name) {
    if (name != the_plan.name) return;
    if (++passages != the_plan.at && the_plan.at != 0) return;
    if (the_plan.action == Plan::Action::crash) std::_Exit(k_exit_code);
    std::this_thread::sleep_for(the_plan.pause);
}

}  // namespace millrace::base::failpoint
