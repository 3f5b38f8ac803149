#pragma once
// Strict JSON in (simdjson), JSON out (Boost.JSON).
//
// parse() walks the whole text: malformed JSON, repeated keys, nesting deeper than 32 and trailing
// bytes are errors, each naming the path of the offender. Reader then turns an object into fields;
// unknown members are ignored, a member of the wrong type or out of range is an error that names
// its path. Decode into a struct at once: a Reader is a view of its Document.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/result.hpp"
#include "shared/base/uuid.hpp"

namespace millrace::json {

struct Length {
    std::size_t min = 0;
    std::size_t max = 1 << 20;  ///< in characters (code points)
};

namespace detail {
struct Node;  // one simdjson element; complete only in reader.cpp
}

class Document;

/// Typed access to the members of one JSON object. The first error sticks: read every field, then
/// ask error().
class Reader {
 public:
    /// Required members; a default-constructed value stands in after an error.
    std::string string(std::string_view key, Length length = {});
    std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max);
    double number(std::string_view key, double min, double max);
    bool boolean(std::string_view key);
    base::Uuid uuid(std::string_view key);
    Reader object(std::string_view key);

    /// Optional members: absent and `null` both give nullopt.
    std::optional<std::string> optional_string(std::string_view key, Length length = {});
    std::optional<std::int64_t> optional_integer(std::string_view key, std::int64_t min,
                                                 std::int64_t max);
    std::optional<double> optional_number(std::string_view key, double min, double max);
    std::optional<bool> optional_boolean(std::string_view key);
    std::optional<base::Uuid> optional_uuid(std::string_view key);
    std::optional<Reader> optional_object(std::string_view key);
    std::vector<std::string> strings(std::string_view key, std::size_t count_max, Length each = {});
    std::vector<Reader> objects(std::string_view key, std::size_t count_max);
    std::vector<double> numbers(std::string_view key, std::size_t count_max);

    /// The member's value as JSON text, re-encoded from the parsed tree; "null" when absent.
    std::string raw(std::string_view key);
    [[nodiscard]] bool has(std::string_view key) const;
    /// There, and null: where that means "remove" (RFC 7396).
    [[nodiscard]] bool is_null(std::string_view key) const;

    /// Reports a rule of the caller's own ("must be one of …") against a member; ignored after an
    /// earlier error.
    void reject(std::string_view key, std::string_view why);

    /// The first error: code `invalid`, `field` = path, `detail` = "<path>: <what is wrong>".
    [[nodiscard]] std::optional<Error> error() const;

 private:
    friend class Document;
    struct State;  // shared by a Reader and the Readers of its members
    Reader(std::shared_ptr<State> state, const detail::Node& node, std::string path);

    std::shared_ptr<State> state_;
    std::shared_ptr<const detail::Node> node_;
    std::string path_;
};

/// A parsed text and the memory it lives in.
class Document {
 public:
    Document(Document&&) noexcept;
    Document& operator=(Document&&) noexcept;
    ~Document();

    /// The root as an object; a Reader whose error() is set when the root is something else.
    /// `prefix` starts every path.
    [[nodiscard]] Reader reader(std::string_view prefix = {}) const;

 private:
    friend Result<Document> parse(std::string_view text);
    struct Impl;
    explicit Document(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

[[nodiscard]] Result<Document> parse(std::string_view text);

}  // namespace millrace::json
