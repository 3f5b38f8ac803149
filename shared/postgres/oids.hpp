#pragma once
// Type ids of PostgreSQL's catalogue (src/include/catalog/pg_type.dat): fixed for ever.

#include <cstdint>

namespace millrace::postgres {

inline constexpr std::uint32_t k_bool = 16, k_bytea = 17, k_int8 = 20, k_int2 = 21, k_int4 = 23,
                               k_text = 25, k_float4 = 700, k_float8 = 701, k_timestamptz = 1184,
                               k_uuid = 2950, k_jsonb = 3802;
inline constexpr std::uint32_t k_bool_array = 1000, k_bytea_array = 1001, k_int2_array = 1005,
                               k_int4_array = 1007, k_text_array = 1009, k_int8_array = 1016,
                               k_float4_array = 1021, k_float8_array = 1022,
                               k_timestamptz_array = 1185, k_uuid_array = 2951;

/// PostgreSQL counts time from 2000-01-01; microseconds after the Unix epoch.
inline constexpr std::int64_t k_epoch_microseconds = 946'684'800'000'000;

}  // namespace millrace::postgres
