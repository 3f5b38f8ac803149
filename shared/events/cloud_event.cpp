#include "shared/events/cloud_event.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::events {

namespace {

std::string_view find(const Headers& headers, std::string_view name) {
    const auto at = std::ranges::find(headers, name, &Headers::value_type::first);
    return at == headers.end() ? std::string_view{} : std::string_view(at->second);
}

Result<std::string_view> require(const Headers& headers, std::string_view name) {
    const auto value = find(headers, name);
    if (value.empty())
        return fail(ErrorCode::invalid, fmt::format("the record has no header {}", name));
    return value;
}

template <class IdType>
Result<IdType> require_id(const Headers& headers, std::string_view name) {
    TRY(const auto text, require(headers, name));
    const auto id = IdType::parse(text);
    if (!id) return fail(ErrorCode::invalid, fmt::format("the header {} is not a UUID", name));
    return *id;
}

}  // namespace

Headers encode_headers(const JobRecord& record) {
    Headers headers;
    headers.reserve(12);
    headers.emplace_back("ce_specversion", "1.0");
    headers.emplace_back("ce_type", record.type);
    headers.emplace_back("ce_source", k_source);
    headers.emplace_back("ce_id", record.id.str());
    headers.emplace_back("ce_time", base::rfc3339_millis(record.time));
    headers.emplace_back("ce_tenant", record.tenant.str());
    headers.emplace_back("ce_owner", record.owner.str());
    headers.emplace_back("ce_kind", record.kind);
    if (!record.order_key.empty()) headers.emplace_back("ce_orderkey", record.order_key);
    if (!record.input) headers.emplace_back("ce_dataref", "job:" + record.id.str());
    headers.emplace_back("content-type", "application/json");
    headers.emplace_back("traceparent", record.trace.traceparent());
    return headers;
}

Result<JobRecord> decode(const Headers& headers, std::string& value, bool has_value) {
    if (find(headers, "ce_specversion") != "1.0")
        return fail(ErrorCode::invalid, "the record is no CloudEvents 1.0 event");
    JobRecord record;
    TRY(record.id, require_id<base::JobId>(headers, "ce_id"));
    TRY(record.tenant, require_id<base::TenantId>(headers, "ce_tenant"));
    TRY(record.owner, require_id<base::UserId>(headers, "ce_owner"));
    TRY(record.kind, require(headers, "ce_kind"));
    TRY(record.type, require(headers, "ce_type"));
    TRY(const auto time, require(headers, "ce_time"));
    const auto accepted = base::parse_rfc3339(time);
    if (!accepted) return fail(ErrorCode::invalid, "the header ce_time is not an RFC 3339 time");
    record.time = *accepted;
    record.order_key = find(headers, "ce_orderkey");
    record.trace = telemetry::TraceContext::from_traceparent(find(headers, "traceparent"));
    if (find(headers, "ce_dataref").empty()) {
        if (!has_value || value.empty())
            return fail(ErrorCode::invalid, "the record has neither a value nor a ce_dataref");
        record.input = std::move(value);
    }
    return record;
}

}  // namespace millrace::events
