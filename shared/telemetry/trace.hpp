#pragma once
// Traces: W3C Trace Context in and out, spans into a bounded queue, OTLP/HTTP JSON for whoever
// exports them.

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace millrace::telemetry {

/// Where a piece of work belongs: the trace, and the span that caused it.
struct TraceContext {
    std::array<std::uint8_t, 16> trace_id{};
    std::array<std::uint8_t, 8> span_id{};
    bool sampled = true;

    /// A new trace of its own.
    [[nodiscard]] static TraceContext fresh();
    /// W3C `traceparent`; anything invalid starts a new trace.
    [[nodiscard]] static TraceContext from_traceparent(std::string_view header);
    /// The 24 bytes of bytes(); anything else starts a new trace.
    [[nodiscard]] static TraceContext from_bytes(std::string_view bytes);

    /// The same trace, a new span.
    [[nodiscard]] TraceContext child() const;
    [[nodiscard]] std::string traceparent() const;
    [[nodiscard]] std::string bytes() const;
    [[nodiscard]] std::string trace_id_hex() const;
    [[nodiscard]] std::string span_id_hex() const;
};

using Attribute = std::variant<std::string, std::int64_t, double, bool>;

struct SpanData {
    std::string name;
    TraceContext context;
    std::array<std::uint8_t, 8> parent{};
    int kind = 1;  ///< OTLP: 1 internal, 2 server, 3 client, 5 consumer
    std::chrono::system_clock::time_point started, ended;
    std::vector<std::pair<std::string, Attribute>> attributes;
    std::string error;  ///< empty: ok
};

class Tracer;

/// Ends when destroyed. Costs next to nothing while nobody exports.
class Span {
 public:
    Span(Tracer* tracer, std::string name, TraceContext context, std::array<std::uint8_t, 8> parent,
         int kind);
    Span(Span&& other) noexcept;
    Span& operator=(Span&&) = delete;
    ~Span();

    [[nodiscard]] const TraceContext& context() const noexcept { return data_.context; }
    void set(std::string_view name, Attribute value);
    void fail(std::string_view why);

 private:
    Tracer* tracer_;  ///< null: nobody exports
    SpanData data_;
};

class Tracer {
 public:
    /// `enabled`: whether somebody takes the spans. More than `queue_max` waiting are dropped and
    /// counted.
    Tracer(bool enabled, std::size_t queue_max = 4096) : enabled_(enabled), queue_max_(queue_max) {}

    [[nodiscard]] Span start(std::string name, const TraceContext& parent, int kind = 1);
    /// For a request that comes in with (or without) a traceparent.
    [[nodiscard]] Span start_server(std::string name, std::string_view traceparent);

    void finish(SpanData span);
    /// At most `max` finished spans.
    [[nodiscard]] std::vector<SpanData> take(std::size_t max);
    [[nodiscard]] std::size_t waiting() const noexcept { return queue_.size(); }
    [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }
    [[nodiscard]] bool enabled() const noexcept { return enabled_; }

 private:
    bool enabled_;
    std::size_t queue_max_;
    std::deque<SpanData> queue_;
    std::uint64_t dropped_ = 0;
};

/// The body of an OTLP/HTTP export (opentelemetry-proto, JSON mapping).
[[nodiscard]] std::string otlp_json(const std::vector<SpanData>& spans, std::string_view service);

}  // namespace millrace::telemetry
