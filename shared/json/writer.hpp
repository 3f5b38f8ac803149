#pragma once
// JSON out: Boost.JSON values, and one escaper for hot paths.

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::json {

using Value = boost::json::value;
using Object = boost::json::object;
using Array = boost::json::array;

[[nodiscard]] std::string dump(const Value& value);

template <class T>
[[nodiscard]] Value or_null(const std::optional<T>& value) {
    return value ? Value(*value) : Value(nullptr);
}

/// Appends `text` as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD.
void append_quoted(std::string& out, std::string_view text);

}  // namespace millrace::json
