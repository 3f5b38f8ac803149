#include <bit>
#include <concepts>
#include <cstring>

#include "shared/postgres/oids.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::postgres {

namespace {

template <std::integral Int>
void append_int(std::string& out, Int value) {
    if constexpr (std::endian::native == std::endian::little) value = std::byteswap(value);
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void set_int(std::string& out, std::size_t at, std::int32_t value) {
    if constexpr (std::endian::native == std::endian::little) value = std::byteswap(value);
    std::memcpy(out.data() + at, &value, sizeof value);
}

std::string_view text_of(const base::Uuid& id) {
    return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

std::int64_t microseconds(base::WallTime when) {
    return std::chrono::duration_cast<std::chrono::microseconds>(when.time_since_epoch()).count() -
           k_epoch_microseconds;
}

// How one element looks on the wire.
void append(std::string& out, bool v) {
    out += v ? '\1' : '\0';
}
void append(std::string& out, std::int16_t v) {
    append_int(out, v);
}
void append(std::string& out, std::int32_t v) {
    append_int(out, v);
}
void append(std::string& out, std::int64_t v) {
    append_int(out, v);
}
void append(std::string& out, float v) {
    append_int(out, std::bit_cast<std::int32_t>(v));
}
void append(std::string& out, double v) {
    append_int(out, std::bit_cast<std::int64_t>(v));
}
void append(std::string& out, std::string_view v) {
    out += v;
}
void append(std::string& out, const Bytes& v) {
    out += v.data;
}
void append(std::string& out, const base::Uuid& v) {
    out += text_of(v);
}
void append(std::string& out, base::WallTime v) {
    append_int(out, microseconds(v));
}

template <class T>
const T* present(const T& value) {
    return &value;
}
template <class T>
const T* present(const std::optional<T>& value) {
    return value ? &*value : nullptr;
}

/// array_recv's format: dimensions, has-null flag, element type, then (size, lower bound) and the
/// elements.
template <class Range>
void append_array(std::string& out, std::uint32_t element, const Range& values) {
    const auto count = static_cast<std::int32_t>(values.size());
    append_int(out, std::int32_t{count > 0 ? 1 : 0});
    bool nulls = false;
    for (const auto& value : values) nulls |= present(value) == nullptr;
    append_int(out, std::int32_t{nulls});
    append_int(out, static_cast<std::int32_t>(element));
    if (count == 0) return;
    append_int(out, count);
    append_int(out, std::int32_t{1});
    for (const auto& value : values) {
        const auto* there = present(value);
        const auto at = out.size();
        append_int(out, std::int32_t{-1});
        if (!there) continue;
        append(out, *there);
        set_int(out, at, static_cast<std::int32_t>(out.size() - at - 4));
    }
}

}  // namespace

// Each add() appends one value's wire bytes and remembers where they stand.
#define MILLRACE_ADD(TYPE, OID, APPEND)                         \
    Params& Params::add(TYPE value) {                           \
        const auto at = data_.size();                           \
        APPEND;                                                 \
        values_.push_back({OID, false, at, data_.size() - at}); \
        return *this;                                           \
    }

Params& Params::add(std::nullopt_t) {
    values_.push_back({0, true, data_.size(), 0});
    return *this;
}
MILLRACE_ADD(bool, k_bool, append(data_, value))
MILLRACE_ADD(std::int16_t, k_int2, append(data_, value))
MILLRACE_ADD(std::int32_t, k_int4, append(data_, value))
MILLRACE_ADD(std::int64_t, k_int8, append(data_, value))
MILLRACE_ADD(double, k_float8, append(data_, value))
MILLRACE_ADD(std::string_view, k_text, append(data_, value))
MILLRACE_ADD(Bytes, k_bytea, append(data_, value))
MILLRACE_ADD(Jsonb, k_jsonb, (data_ += '\1', append(data_, value.text)))
MILLRACE_ADD(const base::Uuid&, k_uuid, append(data_, value))
MILLRACE_ADD(base::WallTime, k_timestamptz, append(data_, value))
MILLRACE_ADD(std::span<const std::int16_t>, k_int2_array, append_array(data_, k_int2, value))
MILLRACE_ADD(std::span<const std::int32_t>, k_int4_array, append_array(data_, k_int4, value))
MILLRACE_ADD(std::span<const std::int64_t>, k_int8_array, append_array(data_, k_int8, value))
MILLRACE_ADD(std::span<const float>, k_float4_array, append_array(data_, k_float4, value))
MILLRACE_ADD(std::span<const double>, k_float8_array, append_array(data_, k_float8, value))
MILLRACE_ADD(std::span<const std::string>, k_text_array, append_array(data_, k_text, value))
MILLRACE_ADD(std::span<const std::optional<std::string>>, k_text_array,
             append_array(data_, k_text, value))
MILLRACE_ADD(std::span<const Bytes>, k_bytea_array, append_array(data_, k_bytea, value))
MILLRACE_ADD(std::span<const std::optional<Bytes>>, k_bytea_array,
             append_array(data_, k_bytea, value))
MILLRACE_ADD(std::span<const base::Uuid>, k_uuid_array, append_array(data_, k_uuid, value))
MILLRACE_ADD(std::span<const std::optional<base::Uuid>>, k_uuid_array,
             append_array(data_, k_uuid, value))
MILLRACE_ADD(std::span<const base::WallTime>, k_timestamptz_array,
             append_array(data_, k_timestamptz, value))
MILLRACE_ADD(const ExtensionArray&, 0,
             append_array(data_, static_cast<std::uint32_t>(value.element), value.values))
#undef MILLRACE_ADD

Params& Params::add(const std::vector<bool>& values) {
    const auto at = data_.size();
    append_int(data_, std::int32_t{values.empty() ? 0 : 1});
    append_int(data_, std::int32_t{0});
    append_int(data_, static_cast<std::int32_t>(k_bool));
    if (!values.empty()) {
        append_int(data_, static_cast<std::int32_t>(values.size()));
        append_int(data_, std::int32_t{1});
        for (const bool value : values) {
            append_int(data_, std::int32_t{1});
            append(data_, value);
        }
    }
    values_.push_back({k_bool_array, false, at, data_.size() - at});
    return *this;
}

}  // namespace millrace::postgres
