#include "shared/json/reader.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <unordered_set>

#include "shared/base/utf8.hpp"

namespace millrace::json {

namespace dom = simdjson::dom;

namespace detail {
struct Node {
    dom::element element;
};
}  // namespace detail

namespace {

constexpr int k_depth_max = 32;
constexpr std::size_t k_small_object = 16;
constexpr std::size_t k_parsers_kept = 8;

std::string join_path(std::string_view path, std::string_view key) {
    return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

std::unexpected<Error> malformed(std::string_view why) {
    return fail(ErrorCode::invalid, fmt::format("body: not valid JSON ({})", why));
}

/// Parsers keep their buffers from one document to the next.
std::vector<std::unique_ptr<dom::parser>>& idle_parsers() {
    static thread_local std::vector<std::unique_ptr<dom::parser>> idle;
    return idle;
}

Result<void> walk(dom::element element, int depth, const std::string& path);

Result<void> walk_object(dom::object object, int depth, const std::string& path) {
    std::vector<std::string_view> keys;
    std::unordered_set<std::string_view> many;
    for (const auto field : object) {
        const bool repeated = keys.size() < k_small_object
                                  ? std::ranges::find(keys, field.key) != keys.end()
                                  : !many.insert(field.key).second;
        const auto is_container = field.value.is_object() || field.value.is_array();
        if (repeated) {
            const auto where = join_path(path, field.key);
            return fail(ErrorCode::invalid, where + ": must not be given twice", {.field = where});
        }
        keys.push_back(field.key);
        if (keys.size() == k_small_object) many.insert(keys.begin(), keys.end());
        if (is_container) TRY_VOID(walk(field.value, depth + 1, join_path(path, field.key)));
    }
    return {};
}

/// simdjson has validated the grammar; this adds what it leaves to its caller.
Result<void> walk(dom::element element, int depth, const std::string& path) {
    if (depth > k_depth_max) return malformed(fmt::format("nested deeper than {}", k_depth_max));
    if (element.is_object()) return walk_object(element.get_object().value(), depth, path);
    if (element.is_array()) {
        for (const auto item : element.get_array().value()) {
            if (item.is_object() || item.is_array()) TRY_VOID(walk(item, depth + 1, path));
        }
    }
    return {};
}

}  // namespace

struct Document::Impl {
    std::unique_ptr<dom::parser> parser;
    dom::element root;

    ~Impl() {
        if (parser && idle_parsers().size() < k_parsers_kept)
            idle_parsers().push_back(std::move(parser));
    }
};

Document::Document(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Document::Document(Document&&) noexcept = default;
Document& Document::operator=(Document&&) noexcept = default;
Document::~Document() = default;

Result<Document> parse(std::string_view text) {
    auto impl = std::make_unique<Document::Impl>();
    auto& idle = idle_parsers();
    if (idle.empty()) {
        impl->parser = std::make_unique<dom::parser>();
    } else {
        impl->parser = std::move(idle.back());
        idle.pop_back();
    }
    if (text.empty()) return fail(ErrorCode::invalid, "body: must be a JSON object, and is empty");
    if (const auto error = impl->parser->parse(text.data(), text.size()).get(impl->root)) {
        return malformed(simdjson::error_message(error));
    }
    TRY_VOID(walk(impl->root, 1, {}));
    return Document(std::move(impl));
}

struct Reader::State {
    std::optional<Error> error;
};

Reader::Reader(std::shared_ptr<State> state, const detail::Node& node, std::string path)
    : state_(std::move(state)),
      node_(std::make_shared<const detail::Node>(node)),
      path_(std::move(path)) {}

Reader Document::reader(std::string_view prefix) const {
    Reader root(std::make_shared<Reader::State>(), detail::Node{impl_->root}, std::string(prefix));
    if (!impl_->root.is_object()) {
        const std::string where = prefix.empty() ? "body" : std::string(prefix);
        root.state_->error =
            fail(ErrorCode::invalid, where + ": must be a JSON object", {.field = where}).error();
    }
    return root;
}

void Reader::reject(std::string_view key, std::string_view why) {
    if (state_->error) return;
    auto where = join_path(path_, key);
    auto detail = fmt::format("{}: {}", where, why);
    state_->error =
        fail(ErrorCode::invalid, std::move(detail), {.field = std::move(where)}).error();
}

std::optional<Error> Reader::error() const {
    return state_->error;
}

namespace {

/// The member, unless absent or null.
std::optional<dom::element> member(const detail::Node& node, std::string_view key) {
    if (!node.element.is_object()) return std::nullopt;
    dom::element found;
    if (node.element.get_object().value().at_key(key).get(found) || found.is_null())
        return std::nullopt;
    return found;
}

/// Stands in for an object that is not there: a default-constructed element may not even be asked
/// what it is.
detail::Node empty_object() {
    static thread_local dom::parser parser;
    static thread_local const dom::element empty = parser.parse(std::string_view("{}")).value();
    return {empty};
}

std::string length_rule(Length length) {
    if (length.min == length.max)
        return fmt::format("must be a string of {} characters", length.min);
    if (length.min == 0)
        return fmt::format("must be a string of at most {} characters", length.max);
    return fmt::format("must be a string of {} to {} characters", length.min, length.max);
}

std::optional<std::string> checked_string(dom::element element, Length length) {
    std::string_view text;
    if (element.get_string().get(text)) return std::nullopt;
    const auto size = base::utf8_length(text);
    if (size < length.min || size > length.max || text.find('\0') != std::string_view::npos)
        return std::nullopt;
    return std::string(text);
}

std::optional<double> number_of(dom::element element) {
    if (!element.is_number()) return std::nullopt;
    return element.get_double().value();
}

}  // namespace

bool Reader::has(std::string_view key) const {
    return member(*node_, key).has_value();
}

bool Reader::is_null(std::string_view key) const {
    dom::element found;
    return node_->element.is_object() &&
           !node_->element.get_object().value().at_key(key).get(found) && found.is_null();
}

std::optional<std::string> Reader::optional_string(std::string_view key, Length length) {
    const auto found = member(*node_, key);
    if (!found) return std::nullopt;
    auto text = checked_string(*found, length);
    if (!text) reject(key, length_rule(length) + (found->is_string() ? " without NUL" : ""));
    return text;
}

std::optional<std::int64_t> Reader::optional_integer(std::string_view key, std::int64_t min,
                                                     std::int64_t max) {
    const auto found = member(*node_, key);
    if (!found) return std::nullopt;
    std::int64_t value = 0;  // 5.0 is no integer here: JSON writes integers without a fraction
    if (found->get_int64().get(value) || value < min || value > max) {
        reject(key, fmt::format("must be an integer between {} and {}", min, max));
        return std::nullopt;
    }
    return value;
}

std::optional<double> Reader::optional_number(std::string_view key, double min, double max) {
    const auto found = member(*node_, key);
    if (!found) return std::nullopt;
    const auto value = number_of(*found);
    if (!value || !(*value >= min && *value <= max)) {
        reject(key, fmt::format("must be a number between {} and {}", min, max));
        return std::nullopt;
    }
    return value;
}

std::optional<bool> Reader::optional_boolean(std::string_view key) {
    const auto found = member(*node_, key);
    if (!found) return std::nullopt;
    bool value = false;
    if (found->get_bool().get(value)) {
        reject(key, "must be true or false");
        return std::nullopt;
    }
    return value;
}

std::optional<base::Uuid> Reader::optional_uuid(std::string_view key) {
    const auto found = member(*node_, key);
    if (!found) return std::nullopt;
    std::string_view text;
    auto id = found->get_string().get(text) ? std::nullopt : base::Uuid::parse(text);
    if (!id) reject(key, "must be a UUID");
    return id;
}

std::optional<Reader> Reader::optional_object(std::string_view key) {
    const auto found = member(*node_, key);
    if (!found) return std::nullopt;
    if (!found->is_object()) {
        reject(key, "must be an object");
        return std::nullopt;
    }
    return Reader(state_, detail::Node{*found}, join_path(path_, key));
}

std::string Reader::string(std::string_view key, Length length) {
    if (!has(key)) reject(key, "is required");
    return optional_string(key, length).value_or("");
}

std::int64_t Reader::integer(std::string_view key, std::int64_t min, std::int64_t max) {
    if (!has(key)) reject(key, "is required");
    return optional_integer(key, min, max).value_or(0);
}

double Reader::number(std::string_view key, double min, double max) {
    if (!has(key)) reject(key, "is required");
    return optional_number(key, min, max).value_or(0);
}

bool Reader::boolean(std::string_view key) {
    if (!has(key)) reject(key, "is required");
    return optional_boolean(key).value_or(false);
}

base::Uuid Reader::uuid(std::string_view key) {
    if (!has(key)) reject(key, "is required");
    return optional_uuid(key).value_or(base::Uuid{});
}

Reader Reader::object(std::string_view key) {
    if (!has(key)) reject(key, "is required");
    auto found = optional_object(key);
    return found ? std::move(*found) : Reader(state_, empty_object(), join_path(path_, key));
}

std::vector<std::string> Reader::strings(std::string_view key, std::size_t count_max, Length each) {
    std::vector<std::string> out;
    const auto found = member(*node_, key);
    if (!found) return out;
    dom::array items;
    if (found->get_array().get(items) || items.size() > count_max) {
        reject(key, fmt::format("must be an array of at most {} strings", count_max));
        return out;
    }
    for (const auto item : items) {
        auto text = checked_string(item, each);
        if (!text) {
            reject(fmt::format("{}[{}]", key, out.size()), length_rule(each));
            return out;
        }
        out.push_back(std::move(*text));
    }
    return out;
}

std::vector<Reader> Reader::objects(std::string_view key, std::size_t count_max) {
    std::vector<Reader> out;
    const auto found = member(*node_, key);
    if (!found) return out;
    dom::array items;
    if (found->get_array().get(items) || items.size() > count_max) {
        reject(key, fmt::format("must be an array of at most {} objects", count_max));
        return out;
    }
    for (const auto item : items) {
        const auto where = fmt::format("{}[{}]", key, out.size());
        if (!item.is_object()) {
            reject(where, "must be an object");
            return out;
        }
        out.push_back(Reader(state_, detail::Node{item}, join_path(path_, where)));
    }
    return out;
}

std::vector<double> Reader::numbers(std::string_view key, std::size_t count_max) {
    std::vector<double> out;
    const auto found = member(*node_, key);
    if (!found) return out;
    dom::array items;
    if (found->get_array().get(items) || items.size() > count_max) {
        reject(key, fmt::format("must be an array of at most {} numbers", count_max));
        return out;
    }
    for (const auto item : items) {
        const auto value = number_of(item);
        if (!value) {
            reject(fmt::format("{}[{}]", key, out.size()), "must be a number");
            return out;
        }
        out.push_back(*value);
    }
    return out;
}

std::string Reader::raw(std::string_view key) {
    const auto found = member(*node_, key);
    return found ? simdjson::minify(*found) : "null";
}

}  // namespace millrace::json
