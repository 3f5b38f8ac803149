#pragma once
// One request on its way through the edge, and the row of the route table that it met.

#include <functional>
#include <optional>
#include <string>

#include "edge/middleware/admission.hpp"
#include "edge/middleware/surface.hpp"
#include "edge/server/http.hpp"
#include "shared/domain/identity/principal.hpp"
#include "shared/telemetry/trace.hpp"

namespace millrace::edge::middleware {

using domain::identity::Principal;

/// RFC 7240.
struct Preference {
    bool respond_async = false;
    std::optional<std::chrono::seconds> wait;
};
[[nodiscard]] Preference parse_prefer(std::string_view header);

struct Endpoint;

struct Exchange {
    server::Request& request;
    const Surface& surface;
    const Endpoint* endpoint = nullptr;
    telemetry::TraceContext trace;
    std::optional<Principal> principal;
    Deadline deadline;          ///< of the handler's own work; a held job may take longer
    Admission::Ticket place{};  ///< released early by a request that only waits from then on

    [[nodiscard]] const Principal& who() const {
        check(principal.has_value(), "the route demands a principal");
        return *principal;
    }
};

enum class Auth : std::uint8_t {
    none,
    bearer,               ///< Authorization: Bearer, or 401
    bearer_or_job_token,  ///< or ?token= bound to the job of the path
};

/// Handlers take a typed view of the request and return a response or an Error; the pipeline
/// renders errors.
using Handler = std::function<Task<Result<server::Response>>(Exchange&)>;

struct Endpoint {
    server::Method method;
    std::string pattern;       ///< "/api/jobs/{id}"
    std::string operation_id;  ///< as in the OpenAPI file
    Auth auth = Auth::bearer;
    Handler handler;
    server::BodyPlan body{};
};

[[nodiscard]] server::Response json_response(int status, std::string body);

}  // namespace millrace::edge::middleware
