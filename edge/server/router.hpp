#pragma once
// The route table as data: patterns to indexes.

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edge/server/http.hpp"

namespace millrace::edge::server {

struct Match {
    enum class Kind : std::uint8_t { found, method_not_allowed, not_found };
    Kind kind = Kind::not_found;
    std::size_t index = 0;
    std::vector<std::string_view> params;  ///< raw segments, in order
    std::string allow;                     ///< for method_not_allowed, and for OPTIONS
};

class Router {
 public:
    Router();
    ~Router();
    Router(Router&&) noexcept;
    Router& operator=(Router&&) noexcept;

    /// `pattern`: "/api/jobs/{id}/events". A literal wins over a parameter; the same row twice is a
    /// bug: check().
    void add(Method method, std::string_view pattern, std::size_t index);
    /// HEAD falls to GET.
    [[nodiscard]] Match find(Method method, std::string_view path) const;

 private:
    struct Node;
    std::unique_ptr<Node> root_;
};

/// nullopt when an escape is broken or the result is not UTF-8 without NUL.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text,
                                                        bool plus_is_space = false);

}  // namespace millrace::edge::server
