#include "edge/surfaces/jobs/event_frames.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>

#include "edge/middleware/job_gate.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::jobs {

using domain::jobs::LiveEvent;
using domain::jobs::Status;
using domain::jobs::View;

namespace {

constexpr std::uint32_t k_last_seq =
    std::numeric_limits<std::int32_t>::max();  ///< of the event that ends a stream

std::string tag_of(base::JobId id) {
    return id.str().substr(24);  // the random tail
}

void frame(base::JobId job, const Position& at, std::string_view type, std::string_view data,
           std::string& out) {
    fmt::format_to(std::back_inserter(out), "id: {}-{}-{}-{}\nevent: {}\ndata: {}\n\n", tag_of(job),
                   at.attempt, at.seq, at.offset, type, data);
}

void restart(base::JobId job, std::string_view reason, Position& at, std::string& out) {
    at.offset = 0;
    frame(job, at, "restart", json::dump(json::Object{{"reason", reason}}), out);
}

std::string answer_of(const View& job) {
    const auto document = json::parse(job.result.value_or("{}"));
    if (!document) return {};
    return document->reader().optional_string("answer").value_or("");
}

}  // namespace

bool Position::wants_live() const noexcept {
    return !lost && attempt > 0 && seq != k_last_seq;
}

Position parse_position(std::string_view text, base::JobId id) {
    const auto tag = tag_of(id) + "-";
    if (!text.starts_with(tag)) return {};
    text.remove_prefix(tag.size());
    Position out;
    const auto number = [&text](auto& value, char after) {
        const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (ec != std::errc{}) return false;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (after == '\0') return text.empty();
        if (!text.starts_with(after)) return false;
        text.remove_prefix(1);
        return true;
    };
    const bool good = number(out.attempt, '-') && number(out.seq, '-') && number(out.offset, '\0');
    if (!good || out.attempt < 0) return {};
    out.resumed = out.attempt > 0;
    return out;
}

bool has_seen_end(const Position& at, const View& job) {
    return is_final(job.status) && at.attempt == job.attempt && at.seq == k_last_seq;
}

void say_state(const View& job, Position& at, std::string& out) {
    if (job.attempt != at.attempt) {
        if (at.attempt > 0 && (at.seq > 0 || at.resumed))
            restart(job.id, "a new attempt begins", at, out);
        at.attempt = job.attempt;
        at.seq = 0;
        at.offset = 0;
        at.lost = false;
    }
    const bool known = at.said == job.status || (at.resumed && !at.said);
    at.said = job.status;
    if (known) return;
    // No id: a snapshot, not a step of the stream.
    fmt::format_to(std::back_inserter(out),
                   "event: status\ndata: {{\"status\":\"{}\",\"attempt\":{}}}\n\n",
                   domain::jobs::to_string(job.status), job.attempt);
}

void say_event(base::JobId job, const LiveEvent& event, Position& at, std::string& out) {
    if (event.seq != at.seq + 1) return say_lost(job, at, out);
    at.seq = event.seq;
    // Said already, from the result, while Redis was away.
    if (event.type == "delta" && event.offset <= at.offset) return;
    // Only a restart takes back what was said.
    at.offset = event.type == "restart" ? event.offset : std::max(at.offset, event.offset);
    frame(job, at, event.type, event.data, out);
}

void say_lost(base::JobId job, Position& at, std::string& out) {
    at.lost = true;
    restart(job, "the stream was lost; the result follows", at, out);
}

void say_end(const View& job, Position& at, std::string& out) {
    at.ended = true;
    if (job.status != Status::succeeded) {
        const auto error = middleware::job_error(job);
        at.seq = k_last_seq;
        frame(job.id, at, "error",
              json::dump(json::Object{
                  {"status", domain::jobs::to_string(job.status)},
                  {"code",
                   error.reason.empty() ? std::string(base::to_string(error.code)) : error.reason},
                  {"message", error.detail}}),
              out);
        return;
    }
    const auto answer = answer_of(job);
    if (at.offset > answer.size()) restart(job.id, "the answer begins again", at, out);
    if (at.offset < answer.size()) {
        std::string data = R"({"text":)";
        json::append_quoted(data, std::string_view(answer).substr(at.offset));
        at.offset = answer.size();
        frame(job.id, at, "delta", data + "}", out);
    }
    at.seq = k_last_seq;
    frame(job.id, at, "result", *job.result, out);
}

}  // namespace millrace::edge::surfaces::jobs
