// POST {base}/chat/completions with stream: true (server-sent events of chat.completion.chunk,
// ended by [DONE]).

#include <fmt/format.h>

#include <charconv>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "shared/providers/llm/llm.hpp"
#include "shared/providers/status.hpp"

namespace millrace::providers::llm {

namespace {

/// Cuts a byte stream into the data of its events, however it was split.
class EventLines {
 public:
    template <class Take>
    Result<void> feed(std::string_view bytes, Take take) {
        buffer_ += bytes;
        for (;;) {
            const auto end = buffer_.find('\n');
            if (end == std::string::npos) break;
            std::string_view line(buffer_.data(), end);
            if (line.ends_with('\r')) line.remove_suffix(1);
            if (line.starts_with("data:")) {
                line.remove_prefix(line.starts_with("data: ") ? 6 : 5);
                TRY_VOID(take(line));
            }
            buffer_.erase(0, end + 1);
        }
        if (buffer_.size() > (1U << 20))
            return fail(ErrorCode::unavailable, "the model's answer is malformed",
                        {.log = "an event line without end"});
        return {};
    }

 private:
    std::string buffer_;
};

/// What has been read of one answer.
struct Reading {
    OnDelta on_delta;
    EventLines lines;
    Completion completion;
    std::string said, error_body;
    bool done = false, usage = false;

    Result<void> event(std::string_view data) {
        if (data == "[DONE]") {
            done = true;
            return {};
        }
        const auto document = json::parse(data);
        if (!document)
            return fail(ErrorCode::unavailable, "the model's answer is malformed",
                        {.log = "an event is not JSON"});
        auto in = document->reader();
        if (in.has("error")) {
            auto error = in.optional_object("error");
            return fail(ErrorCode::unavailable, "the model failed",
                        {.log = error ? error->optional_string("message").value_or("")
                                      : std::string("error event")});
        }
        if (const auto model = in.optional_string("model")) completion.model = *model;
        for (auto& choice : in.objects("choices", 16)) {
            if (const auto reason = choice.optional_string("finish_reason"))
                completion.finish_reason = *reason;
            auto delta = choice.optional_object("delta");
            const auto text =
                delta ? delta->optional_string("content").value_or("") : std::string();
            if (text.empty()) continue;
            said += text;
            on_delta(text);
        }
        if (auto counted = in.optional_object("usage")) {
            completion.tokens_in =
                counted->optional_integer("prompt_tokens", 0, 1'000'000'000).value_or(0);
            completion.tokens_out =
                counted->optional_integer("completion_tokens", 0, 1'000'000'000).value_or(0);
            usage = true;
        }
        return {};
    }
};

class OpenAi final : public Model {
 public:
    OpenAi(http_client::Client& http, OpenAiOptions options)
        : http_(http), options_(std::move(options)) {}

    Task<Result<Completion>> complete(Request request, OnDelta on_delta,
                                      Deadline deadline) override {
        auto reading = std::make_shared<Reading>();
        reading->on_delta = std::move(on_delta);
        reading->completion.model = model_of(request);
        const auto answer = co_await http_.stream(
            http_request(request),
            [reading](int status, std::string_view bytes) -> Result<void> {
                if (status == 200)
                    return reading->lines.feed(
                        bytes, [&](std::string_view data) { return reading->event(data); });
                if (reading->error_body.size() < 2000) reading->error_body += bytes.substr(0, 2000);
                return {};
            },
            deadline);
        if (!answer) co_return std::unexpected(answer.error());
        if (answer->status != 200)
            co_return std::unexpected(
                status_error(*answer, options_.provider, reading->error_body));
        // Servers that end without [DONE] have said why they stopped; a stream that just ends was
        // cut.
        if (!reading->done && reading->completion.finish_reason.empty()) {
            co_return fail(ErrorCode::unavailable, "the model's answer was cut off",
                           {.log = options_.provider + ": the stream ended in the middle"});
        }
        auto& completion = reading->completion;
        if (!reading->usage) {
            completion.estimated = true;
            for (const auto& message : request.messages)
                completion.tokens_in += estimate_tokens(message.content);
            completion.tokens_out = estimate_tokens(reading->said);
        }
        co_return completion;
    }

    [[nodiscard]] const std::string& provider() const noexcept override {
        return options_.provider;
    }
    [[nodiscard]] const std::string& model() const noexcept override { return options_.model; }

 private:
    [[nodiscard]] const std::string& model_of(const Request& request) const {
        return request.model.empty() ? options_.model : request.model;
    }

    [[nodiscard]] http_client::Request http_request(const Request& request) const {
        json::Array messages;
        for (const auto& message : request.messages)
            messages.push_back({{"role", message.role}, {"content", message.content}});
        http_client::Request out{
            .method = "POST",
            .url = options_.base_url + "/chat/completions",
            .headers = {{"Content-Type", "application/json"}, {"Accept", "text/event-stream"}},
            .body = json::dump(json::Object{{"model", model_of(request)},
                                            {"messages", std::move(messages)},
                                            {"temperature", request.temperature},
                                            {"max_tokens", request.max_tokens},
                                            {"stream", true},
                                            {"stream_options", {{"include_usage", true}}}}),
            .profile = http_client::Profile::operator_configured,
            .first_byte_timeout = options_.first_byte,
            .stall_timeout = options_.stall};
        const auto& key = request.key.empty() ? options_.key : request.key;
        if (!key.empty()) out.headers.emplace_back("Authorization", "Bearer " + key);
        if (!request.traceparent.empty())
            out.headers.emplace_back("traceparent", request.traceparent);
        return out;
    }

    http_client::Client& http_;
    OpenAiOptions options_;
};

}  // namespace

std::int64_t estimate_tokens(std::string_view text) {
    std::int64_t quarters = 0;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0xE3)
            quarters += 2;  // the lead byte of a CJK character
        else if ((byte & 0xC0) != 0x80)
            quarters += 1;
    }
    return (quarters + 3) / 4;
}

std::unique_ptr<Model> make_openai(http_client::Client& http, OpenAiOptions options) {
    return std::make_unique<OpenAi>(http, std::move(options));
}

}  // namespace millrace::providers::llm
