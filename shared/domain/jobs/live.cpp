#include "shared/domain/jobs/live.hpp"

#include <fmt/format.h>

#include <charconv>

#include "shared/json/writer.hpp"

namespace millrace::domain::jobs {

namespace {
constexpr auto k_kept = "7200";  // seconds after the last event

std::string stream_key(JobId id, int attempt) {
    return fmt::format("millrace:live:{}:{}", id.str(), attempt);
}
std::string progress_key(JobId id, int attempt) {
    return fmt::format("millrace:progress:{}:{}", id.str(), attempt);
}

template <class Number>
Number number(std::string_view text) {
    Number value{};
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}
}  // namespace

std::vector<std::string> live_keys(JobId id, int attempts) {
    std::vector<std::string> keys;
    for (int attempt = 1; attempt <= attempts; ++attempt) {
        keys.push_back(stream_key(id, attempt));
        keys.push_back(progress_key(id, attempt));
    }
    return keys;
}

std::string live_channel(JobId id) {
    return "millrace:live:" + id.str();
}

LiveWriter::LiveWriter(redis::Client& redis, JobId id, int attempt)
    : redis_(redis),
      key_(stream_key(id, attempt)),
      progress_key_(progress_key(id, attempt)),
      channel_(live_channel(id)) {}

void LiveWriter::add(std::string_view type, std::string data) {
    ++seq_;
    bytes_ += data.size() + 64;
    if (bytes_ > k_bytes_max) return;  // the gap tells the reader to wait for the result
    redis_.post({"XADD", key_, fmt::format("{}-0", seq_), "t", std::string(type), "o",
                 std::to_string(offset_), "d", std::move(data)});
    if (seq_ == 1) redis_.post({"EXPIRE", key_, k_kept});
    redis_.post({"PUBLISH", channel_, std::to_string(seq_)});
}

void LiveWriter::status(std::string_view status) {
    add("status", fmt::format(R"({{"status":"{}"}})", status));
}

void LiveWriter::progress(std::string_view json) {
    redis_.post({"SET", progress_key_, std::string(json), "EX", k_kept});
    add("progress", std::string(json));
}

void LiveWriter::delta(std::string_view text) {
    if (text.empty()) return;
    offset_ += text.size();
    std::string data = R"({"text":)";
    json::append_quoted(data, text);
    data += '}';
    add("delta", std::move(data));
}

void LiveWriter::citation(std::string_view json) {
    add("citation", std::string(json));
}

void LiveWriter::restart(std::string_view reason) {
    offset_ = 0;
    std::string data = R"({"reason":)";
    json::append_quoted(data, reason);
    data += '}';
    add("restart", std::move(data));
}

Task<Result<std::vector<LiveEvent>>> LiveReader::after(JobId id, int attempt, std::uint32_t seq,
                                                       Deadline deadline) {
    redis::Args args{"XRANGE", stream_key(id, attempt), fmt::format("({}-0", seq), "+", "COUNT",
                     "500"};
    CO_TRY(const auto reply, co_await redis_.command(std::move(args), deadline));
    std::vector<LiveEvent> events;
    for (const auto& entry : reply.array()) {
        if (entry.array().size() != 2) continue;
        LiveEvent event{.seq = number<std::uint32_t>(entry.array()[0].text())};
        const auto& fields = entry.array()[1].array();
        for (std::size_t f = 0; f + 1 < fields.size(); f += 2) {
            const auto name = fields[f].text();
            const auto value = fields[f + 1].text();
            if (name == "t") event.type = value;
            if (name == "o") event.offset = number<std::uint64_t>(value);
            if (name == "d") event.data = value;
        }
        events.push_back(std::move(event));
    }
    co_return events;
}

Task<Result<std::optional<std::string>>> LiveReader::progress(JobId id, int attempt,
                                                              Deadline deadline) {
    redis::Args args{"GET", progress_key(id, attempt)};
    CO_TRY(const auto reply, co_await redis_.command(std::move(args), deadline));
    co_return reply.is_nil() ? std::nullopt : std::optional<std::string>(reply.text());
}

}  // namespace millrace::domain::jobs
