#include "tests/support/probe_worker.hpp"

#include <cstdlib>
#include <stdexcept>

#include "shared/async/event.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::tests {

using workers::runtime::Attempt;
using workers::runtime::fail_for_good;
using workers::runtime::Job;
using workers::runtime::Outcome;
using workers::runtime::succeed;

namespace {

struct Input {
    std::string echo, text, op;
    std::chrono::milliseconds pause{};
    std::int64_t times = 0;
    std::int64_t bytes = 0;
    bool always = true;  ///< no `times` given
};

// The table is made by tests/support/probe_effects.sql, on the systems that tests start.
const postgres::Statement k_effect{
    "probe_effect",
    "INSERT INTO probe_effects (job_id, attempt, order_key, op) VALUES ($1, $2, $3, $4)"};

Result<Input> decode(const std::string& text) {
    TRY(const auto document, json::parse(text));
    auto in = document.reader("input");
    Input out{.echo = in.raw("echo"),
              .text = in.optional_string("text", {0, 100'000}).value_or("")};
    out.pause = std::chrono::milliseconds(in.optional_integer("ms", 0, 600'000).value_or(0));
    out.op = in.optional_string("op", {0, 100}).value_or("");
    out.bytes = in.optional_integer("bytes", 0, 64 << 20).value_or(0);
    const auto times = in.optional_integer("times", 0, 1000);
    out.times = times.value_or(0);
    out.always = !times;
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Outcome echoed(const Input& input, const Job& job) {
    auto result = R"({"echo":)" + input.echo + R"(,"attempt":)" + std::to_string(job.attempt);
    if (job.origin_id != job.id && !job.shadow)
        result += R"(,"origin":")" + job.origin_id.str() + '"';
    return succeed(result + "}");
}

Task<Result<Outcome>> ok(Job job, Attempt&) {
    CO_TRY(const auto input, decode(job.input));
    co_return echoed(input, job);
}

Task<Result<Outcome>> sleep(Job job, Attempt& attempt) {
    CO_TRY(const auto input, decode(job.input));
    co_await async::delay(attempt.executor(), input.pause);
    co_return echoed(input, job);
}

Task<Result<Outcome>> fail_times(Job job, Attempt&) {
    CO_TRY(const auto input, decode(job.input));
    if (job.attempt <= input.times)
        co_return fail(ErrorCode::unavailable, "the probe was told to fail");
    co_return echoed(input, job);
}

Task<Result<Outcome>> never(Job, Attempt&) {
    co_return fail_for_good("PROBE_NEVER", "this probe can never work");
}

Task<Result<Outcome>> hang(Job, Attempt& attempt) {
    async::Event never_set(attempt.executor());
    co_await never_set.wait(Deadline::at(base::SteadyTime::max()));
    co_await async::delay(attempt.executor(),
                          std::chrono::hours(1));  // cancelled before: throws here
    co_return succeed("{}");
}

Task<Result<Outcome>> abort_process(Job job, Attempt&) {
    CO_TRY(const auto input, decode(job.input));
    if (input.always || job.attempt <= input.times) std::_Exit(134);
    co_return echoed(input, job);
}

Task<Result<Outcome>> effect(Job job, Attempt& attempt) {
    CO_TRY(const auto input, decode(job.input));
    if (input.pause.count() > 0) co_await async::delay(attempt.executor(), input.pause);
    if (job.attempt <= input.times)
        co_return fail(ErrorCode::unavailable, "the probe was told to fail");
    auto outcome = echoed(input, job);
    outcome.effects.push_back(
        postgres::call(k_effect, job.id, job.attempt, job.order_key, input.op));
    co_return outcome;
}

Task<Result<Outcome>> throw_times(Job job, Attempt&) {
    CO_TRY(const auto input, decode(job.input));
    if (input.always || job.attempt <= input.times)
        throw std::runtime_error("the probe was told to throw \xff\xfe, no UTF-8");
    co_return echoed(input, job);
}

Task<Result<Outcome>> large(Job job, Attempt&) {
    CO_TRY(const auto input, decode(job.input));
    co_return succeed(json::dump(
        json::Object{{"text", std::string(static_cast<std::size_t>(input.bytes), 'x')}}));
}

Task<Result<Outcome>> stream(Job job, Attempt& attempt) {
    CO_TRY(const auto input, decode(job.input));
    std::string_view rest = input.text;
    while (!rest.empty()) {
        const auto end =
            std::min(rest.find(' ') == std::string_view::npos ? rest.size() : rest.find(' ') + 1,
                     rest.size());
        attempt.live().delta(rest.substr(0, end));
        rest.remove_prefix(end);
        if (input.pause.count() > 0) co_await async::delay(attempt.executor(), input.pause);
    }
    co_return succeed(json::dump(json::Object{{"answer", input.text}}));
}

}  // namespace

std::map<std::string, workers::runtime::Handler> probe_handlers() {
    return {{"probe.ok", ok},
            {"probe.sleep", sleep},
            {"probe.fail", fail_times},
            {"probe.never", never},
            {"probe.hang", hang},
            {"probe.abort", abort_process},
            {"probe.stream", stream},
            {"probe.ordered", fail_times},
            {"probe.effect", effect},
            {"probe.effect_ordered", effect},
            {"probe.throw", throw_times},
            {"probe.large", large}};
}

}  // namespace millrace::tests
