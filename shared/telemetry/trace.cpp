#include "shared/telemetry/trace.hpp"

#include <algorithm>

#include "shared/base/crypto.hpp"
#include "shared/json/writer.hpp"

namespace millrace::telemetry {

namespace {

constexpr std::size_t k_traceparent_size = 55;

template <std::size_t N>
std::string_view view(const std::array<std::uint8_t, N>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), N};
}

/// Lower-case hex only, as the specification demands.
template <std::size_t N>
bool parse_hex(std::string_view text, std::array<std::uint8_t, N>& out) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    for (std::size_t i = 0; i < N; ++i) {
        const int high = digit(text[2 * i]);
        const int low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return true;
}

template <std::size_t N>
bool is_zero(const std::array<std::uint8_t, N>& bytes) {
    return std::ranges::all_of(bytes, [](auto b) { return b == 0; });
}

json::Object otlp_value(const Attribute& value) {
    if (const auto* text = std::get_if<std::string>(&value)) return {{"stringValue", *text}};
    if (const auto* whole = std::get_if<std::int64_t>(&value))
        return {{"intValue", std::to_string(*whole)}};
    if (const auto* number = std::get_if<double>(&value)) return {{"doubleValue", *number}};
    return {{"boolValue", std::get<bool>(value)}};
}

std::string nanoseconds(std::chrono::system_clock::time_point when) {
    return std::to_string(
        std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count());
}

json::Object otlp_span(const SpanData& span) {
    json::Array attributes;
    for (const auto& [name, value] : span.attributes)
        attributes.push_back({{"key", name}, {"value", otlp_value(value)}});
    json::Object out{
        {"traceId", span.context.trace_id_hex()},
        {"spanId", span.context.span_id_hex()},
        {"name", span.name},
        {"kind", span.kind},
        {"startTimeUnixNano", nanoseconds(span.started)},
        {"endTimeUnixNano", nanoseconds(span.ended)},
        {"attributes", std::move(attributes)},
        {"status", span.error.empty() ? json::Object{{"code", 1}}
                                      : json::Object{{"code", 2}, {"message", span.error}}}};
    if (!is_zero(span.parent)) out["parentSpanId"] = base::hex(view(span.parent));
    return out;
}

}  // namespace

TraceContext TraceContext::fresh() {
    TraceContext out;
    base::random_fill(out.trace_id.data(), out.trace_id.size());
    base::random_fill(out.span_id.data(), out.span_id.size());
    return out;
}

TraceContext TraceContext::from_traceparent(std::string_view header) {
    TraceContext out;
    std::array<std::uint8_t, 1> version{}, flags{};
    const bool shaped =
        header.size() >= k_traceparent_size && header[2] == '-' && header[35] == '-' &&
        header[52] == '-' && parse_hex(header.substr(0, 2), version) &&
        parse_hex(header.substr(3, 32), out.trace_id) &&
        parse_hex(header.substr(36, 16), out.span_id) && parse_hex(header.substr(53, 2), flags);
    const bool sized =
        version[0] == 0 ? header.size() == k_traceparent_size
                        : header.size() == k_traceparent_size || header[k_traceparent_size] == '-';
    if (!shaped || !sized || version[0] == 0xFF || is_zero(out.trace_id) || is_zero(out.span_id))
        return fresh();
    out.sampled = flags[0] & 1;
    return out;
}

TraceContext TraceContext::from_bytes(std::string_view bytes) {
    TraceContext out;
    if (bytes.size() != out.trace_id.size() + out.span_id.size()) return fresh();
    std::ranges::copy(bytes.substr(0, 16), out.trace_id.begin());
    std::ranges::copy(bytes.substr(16), out.span_id.begin());
    return out;
}

TraceContext TraceContext::child() const {
    auto out = *this;
    base::random_fill(out.span_id.data(), out.span_id.size());
    return out;
}

std::string TraceContext::traceparent() const {
    std::string out;
    out.reserve(k_traceparent_size);
    out += "00-";
    base::append_hex(out, view(trace_id));
    out += '-';
    base::append_hex(out, view(span_id));
    out += sampled ? "-01" : "-00";
    return out;
}

std::string TraceContext::bytes() const {
    std::string out(trace_id.begin(), trace_id.end());
    out.append(span_id.begin(), span_id.end());
    return out;
}

std::string TraceContext::trace_id_hex() const {
    return base::hex(view(trace_id));
}
std::string TraceContext::span_id_hex() const {
    return base::hex(view(span_id));
}

Span::Span(Tracer* tracer, std::string name, TraceContext context,
           std::array<std::uint8_t, 8> parent, int kind)
    : tracer_(tracer),
      data_{.name = std::move(name),
            .context = context,
            .parent = parent,
            .kind = kind,
            .started = {},
            .ended = {},
            .attributes = {},
            .error = {}} {
    if (tracer_) data_.started = std::chrono::system_clock::now();
}

Span::Span(Span&& other) noexcept
    : tracer_(std::exchange(other.tracer_, nullptr)), data_(std::move(other.data_)) {}

Span::~Span() {
    if (!tracer_) return;
    data_.ended = std::chrono::system_clock::now();
    tracer_->finish(std::move(data_));
}

void Span::set(std::string_view name, Attribute value) {
    if (tracer_) data_.attributes.emplace_back(name, std::move(value));
}

void Span::fail(std::string_view why) {
    if (tracer_) data_.error = why;
}

Span Tracer::start(std::string name, const TraceContext& parent, int kind) {
    return {enabled_ ? this : nullptr, std::move(name), parent.child(), parent.span_id, kind};
}

Span Tracer::start_server(std::string name, std::string_view traceparent) {
    if (traceparent.empty())
        return {enabled_ ? this : nullptr, std::move(name), TraceContext::fresh(), {}, 2};
    return start(std::move(name), TraceContext::from_traceparent(traceparent), 2);
}

void Tracer::finish(SpanData span) {
    if (queue_.size() >= queue_max_) {
        ++dropped_;
        return;
    }
    queue_.push_back(std::move(span));
}

std::vector<SpanData> Tracer::take(std::size_t max) {
    const auto size = std::min(max, queue_.size());
    const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(size);
    std::vector<SpanData> out(std::make_move_iterator(queue_.begin()),
                              std::make_move_iterator(end));
    queue_.erase(queue_.begin(), end);
    return out;
}

std::string otlp_json(const std::vector<SpanData>& spans, std::string_view service) {
    json::Array encoded;
    for (const auto& span : spans) encoded.push_back(otlp_span(span));
    json::Array resource_attributes{
        json::Object{{"key", "service.name"}, {"value", {{"stringValue", service}}}}};
    json::Object scope{{"scope", {{"name", "millrace"}}}, {"spans", std::move(encoded)}};
    json::Object resource{{"resource", {{"attributes", std::move(resource_attributes)}}},
                          {"scopeSpans", json::Array{std::move(scope)}}};
    return json::dump(json::Object{{"resourceSpans", json::Array{std::move(resource)}}});
}

}  // namespace millrace::telemetry
