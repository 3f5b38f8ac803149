#include <libpq-fe.h>

#include <bit>
#include <charconv>
#include <cstring>

#include "shared/postgres/oids.hpp"
#include "shared/postgres/result.hpp"

namespace millrace::postgres {

namespace {

template <std::integral Int>
Int read_int(std::string_view bytes) {
    check(bytes.size() >= sizeof(Int), "a column has the width of its type");
    std::make_unsigned_t<Int> out = 0;
    for (std::size_t i = 0; i < sizeof(Int); ++i) {
        out =
            static_cast<std::make_unsigned_t<Int>>(out << 8 | static_cast<unsigned char>(bytes[i]));
    }
    return static_cast<Int>(out);
}

/// Calls `take(bytes)` for each element of a one-dimensional array without NULLs.
template <class Take>
void each_element(std::string_view wire, Take take) {
    if (read_int<std::int32_t>(wire) == 0) return;
    auto left = read_int<std::int32_t>(wire.substr(12));
    wire.remove_prefix(20);
    for (; left > 0; --left) {
        const auto size = read_int<std::int32_t>(wire);
        check(size >= 0, "the array holds no NULL");
        take(wire.substr(4, static_cast<std::size_t>(size)));
        wire.remove_prefix(4 + static_cast<std::size_t>(size));
    }
}

base::Uuid read_uuid(std::string_view wire) {
    base::Uuid id;
    check(wire.size() == id.bytes.size(), "the column is a uuid");
    std::memcpy(id.bytes.data(), wire.data(), wire.size());
    return id;
}

/// Integers come as wide as the column is; the caller's type must hold them.
std::int64_t read_integer(const Row& row, int column) {
    const auto wire = row.wire(column);
    switch (row.type(column)) {
        case k_int2:
            return read_int<std::int16_t>(wire);
        case k_int4:
            return read_int<std::int32_t>(wire);
        case k_int8:
            return read_int<std::int64_t>(wire);
        default:
            check(false, "the column is an integer");
            return 0;
    }
}

}  // namespace

std::size_t Rows::size() const noexcept {
    return impl_ ? static_cast<std::size_t>(PQntuples(impl_->result.get())) : 0;
}

std::size_t Rows::affected() const noexcept {
    if (!impl_) return 0;
    const std::string_view text = PQcmdTuples(impl_->result.get());
    std::size_t count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    return count;
}

Row Rows::operator[](std::size_t row) const {
    check(row < size(), "the row exists");
    return {*impl_, row};
}

bool Row::is_null(int column) const {
    return PQgetisnull(rows_->result.get(), static_cast<int>(row_), column) != 0;
}

std::string_view Row::wire(int column) const {
    auto* result = rows_->result.get();
    check(column < PQnfields(result) && !is_null(column), "the column exists and is not NULL");
    return {PQgetvalue(result, static_cast<int>(row_), column),
            static_cast<std::size_t>(PQgetlength(result, static_cast<int>(row_), column))};
}

std::uint32_t Row::type(int column) const {
    return PQftype(rows_->result.get(), column);
}

bool Row::Getter<bool>::get(const Row& row, int column) {
    check(row.type(column) == k_bool, "the column is a boolean");
    return row.wire(column)[0] != 0;
}
std::int16_t Row::Getter<std::int16_t>::get(const Row& row, int column) {
    check(row.type(column) == k_int2, "the column is a smallint");
    return static_cast<std::int16_t>(read_integer(row, column));
}
std::int32_t Row::Getter<std::int32_t>::get(const Row& row, int column) {
    check(row.type(column) != k_int8, "the column is no wider than an integer");
    return static_cast<std::int32_t>(read_integer(row, column));
}
std::int64_t Row::Getter<std::int64_t>::get(const Row& row, int column) {
    return read_integer(row, column);
}
double Row::Getter<double>::get(const Row& row, int column) {
    if (row.type(column) == k_float4)
        return std::bit_cast<float>(read_int<std::int32_t>(row.wire(column)));
    check(row.type(column) == k_float8, "the column is a double");
    return std::bit_cast<double>(read_int<std::int64_t>(row.wire(column)));
}
std::string_view Row::Getter<std::string_view>::get(const Row& row, int column) {
    const auto wire = row.wire(column);
    return row.type(column) == k_jsonb ? wire.substr(1) : wire;  // jsonb begins with its version
}
std::string Row::Getter<std::string>::get(const Row& row, int column) {
    return std::string(row.get<std::string_view>(column));
}
base::Uuid Row::Getter<base::Uuid>::get(const Row& row, int column) {
    return read_uuid(row.wire(column));
}
base::WallTime Row::Getter<base::WallTime>::get(const Row& row, int column) {
    check(row.type(column) == k_timestamptz, "the column is a timestamptz");
    const auto micros = read_int<std::int64_t>(row.wire(column)) + k_epoch_microseconds;
    return base::WallTime(
        std::chrono::duration_cast<base::WallTime::duration>(std::chrono::microseconds(micros)));
}
std::vector<base::Uuid> Row::Getter<std::vector<base::Uuid>>::get(const Row& row, int column) {
    std::vector<base::Uuid> out;
    each_element(row.wire(column),
                 [&out](std::string_view wire) { out.push_back(read_uuid(wire)); });
    return out;
}
std::vector<std::string> Row::Getter<std::vector<std::string>>::get(const Row& row, int column) {
    std::vector<std::string> out;
    each_element(row.wire(column), [&out](std::string_view wire) { out.emplace_back(wire); });
    return out;
}
std::vector<std::int32_t> Row::Getter<std::vector<std::int32_t>>::get(const Row& row, int column) {
    std::vector<std::int32_t> out;
    each_element(row.wire(column),
                 [&out](std::string_view wire) { out.push_back(read_int<std::int32_t>(wire)); });
    return out;
}
std::vector<float> Row::Getter<std::vector<float>>::get(const Row& row, int column) {
    std::vector<float> out;
    each_element(row.wire(column), [&out](std::string_view w) {
        out.push_back(std::bit_cast<float>(read_int<std::int32_t>(w)));
    });
    return out;
}

}  // namespace millrace::postgres
