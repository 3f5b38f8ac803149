#pragma once
// A surface is one product's share of the URL space: its prefix, its error bodies, its CORS rule
// (design §4). Handlers return one Error and never format it.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

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
    std::vector<std::string>
        prefixes;              ///< "/api/v1" owns itself and all below, "/chat/" what is below
    int invalid_status = 400;  ///< what invalid input is here
    std::string audience{};    ///< whose credentials open it; empty: those of every surface
    bool any_origin =
        false;  ///< pages of any origin may call it, without credentials of the browser
    /// Of those that may not, paths that any origin may call: they check for themselves.
    std::vector<std::string> open_paths{};
    bool shows_limits = false;  ///< X-RateLimit-* on answers of limited operations
    std::function<Rendered(const Error& error, int status, const telemetry::TraceContext& trace)>
        render;
};

/// The surface with the longest matching prefix, else the last one (problem+json).
[[nodiscard]] const Surface& surface_of(const std::vector<Surface>& surfaces,
                                        std::string_view path);

/// The status that an error code means where the surface has no rule of its own.
[[nodiscard]] int http_status(const Error& error, int invalid_status);

/// RFC 9457 problem+json; the jobs surface and everything outside the products.
[[nodiscard]] Surface problem_surface();

}  // namespace millrace::edge::middleware
