#pragma once
// One request on its way through the edge, and the row of the route table that it met.

#include <functional>
#include <optional>
#include <string>

#include "edge/middleware/admission.hpp"
#include "edge/middleware/rate_limits.hpp"
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
    Deadline deadline;             ///< of the handler's own work; a held job may take longer
    Admission::Ticket place{};     ///< released early by a request that only waits from then on
    std::string client_address{};  ///< behind proxies: the client's own
    std::optional<Standing> standing{};  ///< with the limit that decided last
    bool repeated = false;  ///< the answer is that of an earlier request with the same key
    std::string actor{};    ///< who acts, for the audit log, where no credential says so

    [[nodiscard]] const Principal& who() const {
        check(principal.has_value(), "the route demands a principal");
        return *principal;
    }
};

enum class Auth : std::uint8_t {
    none,
    bearer,                 ///< Authorization: Bearer of this surface, or 401
    bearer_or_job_token,    ///< or ?token= bound to the job of the path
    first_factor,           ///< a bearer whose second factor may be missing still
    optional_first_factor,  ///< the same, or none
    optional_bearer,        ///< a bearer if one is sent, and then a good one
    widget,                 ///< X-API-Key of a tenant's widget, from one of its origins
};

/// Handlers take a typed view of the request and return a response or an Error; the pipeline
/// renders errors.
using Handler = std::function<Task<Result<server::Response>>(Exchange&)>;

/// Gives the handlers of a resource its ports: `const auto with = with_ports(ports)`, and in the
/// rows of its route table `with(handler)`.
template <class Ports>
[[nodiscard]] auto with_ports(Ports ports) {
    return [ports](Task<Result<server::Response>> (*handler)(Ports, Exchange&)) -> Handler {
        return [ports, handler](Exchange& exchange) { return handler(ports, exchange); };
    };
}

struct Endpoint {
    server::Method method;
    std::string pattern;       ///< "/api/jobs/{id}"
    std::string operation_id;  ///< as in the OpenAPI file
    Auth auth = Auth::bearer;
    Handler handler;
    server::BodyPlan body{};
    std::vector<Limit> limits{};  ///< by address or user; those by subject are the handler's
    bool stores_answer = false;   ///< creates something, without a job: StoredAnswers
};

/// Counts the request against limits, `subject` for those by subject; an Error when one refuses.
Task<Result<void>> take_limits(RateLimits& limits, Exchange& exchange, std::vector<Limit> which,
                               std::string subject = {});
/// Starts their counts anew.
Task<Result<void>> forget_limits(RateLimits& limits, Exchange& exchange, std::vector<Limit> which,
                                 std::string subject);

/// Address and user agent, for the owner of a session to recognise: at most 200 visible ASCII
/// characters, whatever the client sends.
[[nodiscard]] std::string client_of(const Exchange& exchange);

[[nodiscard]] server::Response json_response(int status, std::string body);

}  // namespace millrace::edge::middleware
