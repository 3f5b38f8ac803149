#pragma once
// A surface is one product's share of the URL space: its prefix, its error bodies, its CORS rule
// (design §4). Handlers return one Error and never format it.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "edge/middleware/rate_limits.hpp"
#include "edge/server/http.hpp"
#include "shared/telemetry/trace.hpp"

namespace millrace::edge::middleware {

/// What an Error becomes on the wire.
struct Rendered {
    std::string content_type = "application/json";
    std::string body;
};

struct Surface {
    std::string name;
    /// "/api/v1" owns "/api/v1" and everything below; "/api/auth-" and "/api/chat/", which end in a
    /// mark, own whatever begins with them.
    std::vector<std::string> prefixes;
    int invalid_status = 400;  ///< what invalid input is here
    std::string audience{};    ///< whose credentials open it; empty: those of every surface
    bool any_origin =
        false;  ///< pages of any origin may call it, without credentials of the browser
    /// Of those that may not, paths that any origin may call: they check for themselves.
    std::vector<std::string> open_paths{};
    bool shows_limits = false;  ///< X-RateLimit-* on answers of limited operations
    /// The JSON body of a refusal by a limit, where the contract has one of its own.
    std::function<std::string(const Standing& standing)> limit_body{};
    bool user_header = false;  ///< in development `x-user-id` names the caller
    std::function<Rendered(const Error& error, int status, const telemetry::TraceContext& trace)>
        render;
};

/// The surface with the longest matching prefix, else the last one (problem+json).
[[nodiscard]] const Surface& surface_of(const std::vector<Surface>& surfaces,
                                        std::string_view path);

/// The status that an error code means where the surface has no rule of its own.
[[nodiscard]] int http_status(const Error& error, int invalid_status);

/// The error's detail where a handler worded it in the product's Japanese; else `advice`, followed
/// by the detail, which shared code words in English.
[[nodiscard]] std::string japanese_message(const Error& error, std::string_view advice);

/// RFC 9457 problem+json; the jobs surface and everything outside the products.
[[nodiscard]] Surface problem_surface();

}  // namespace millrace::edge::middleware
