#pragma once
// The way of every request: trace, surface, route, CORS, credential, admission, handler, error
// rendering,
// headers, log and metrics.

#include <map>
#include <memory>
#include <vector>

#include "edge/middleware/client_address.hpp"
#include "edge/middleware/exchange.hpp"
#include "edge/middleware/stored_answers.hpp"
#include "edge/server/router.hpp"
#include "shared/domain/audit/audit.hpp"
#include "shared/domain/identity/development_users.hpp"
#include "shared/domain/identity/sessions.hpp"
#include "shared/domain/identity/widget_keys.hpp"
#include "shared/telemetry/metrics.hpp"

namespace millrace::edge::middleware {

struct PipelineOptions {
    std::vector<std::string> cors_origins;  ///< exact origins, beside the surfaces' own rules
    TrustedProxies proxies;
    std::chrono::milliseconds handler_deadline{5000};
    /// Who `x-user-id` names, on surfaces that have it; null: nobody, as always in production.
    domain::identity::DevelopmentUsers* development_users = nullptr;
};

class Pipeline final : public server::Application {
 public:
    /// The last surface is the one for paths that no other owns.
    Pipeline(std::vector<Surface> surfaces, std::vector<Endpoint> endpoints,
             domain::identity::Credentials& credentials, domain::identity::WidgetKeys& widget_keys,
             domain::audit::Log& audit, RateLimits& limits, StoredAnswers& answers,
             Admission& admission, telemetry::Tracer& tracer, telemetry::Registry& metrics,
             PipelineOptions options);

    server::BodyPlan plan(const server::Request& head) override;
    Task<server::Response> handle(server::Request& request) override;
    server::Response render(const server::Request* head, const Error& error, int status) override;

    [[nodiscard]] const std::vector<Endpoint>& endpoints() const noexcept { return endpoints_; }

 private:
    Task<Result<server::Response>> dispatch(Exchange& exchange, server::Match match,
                                            telemetry::Span& span);
    Task<Result<void>> authenticate(Exchange& exchange);
    Task<void> record(const Exchange& exchange, const Result<server::Response>& result);
    server::Response refusal(const Exchange& exchange, const Error& error);
    [[nodiscard]] server::Response preflight(const server::Request& request, const Surface& surface,
                                             std::string_view allow) const;
    [[nodiscard]] bool origin_allowed(const Surface& surface, std::string_view path,
                                      std::string_view origin) const;
    void finish_headers(const server::Request* request, const Surface& surface,
                        server::Response& response, const telemetry::TraceContext& trace) const;
    server::Response rendered(const Surface& surface, const Error& error,
                              const telemetry::TraceContext& trace, int status = 0) const;

    std::vector<Surface> surfaces_;
    std::vector<Endpoint> endpoints_;
    std::vector<const Surface*> homes_;  ///< whose each endpoint is
    server::Router router_;
    domain::identity::Credentials& credentials_;
    domain::identity::WidgetKeys& widget_keys_;
    domain::audit::Log& audit_;
    RateLimits& limits_;
    StoredAnswers& answers_;
    Admission& admission_;
    telemetry::Tracer& tracer_;
    PipelineOptions options_;
    struct Refusal {
        base::SteadyTime made{};
        server::Response response;
    };
    std::map<std::pair<const Surface*, ErrorCode>, Refusal> refusals_;
    std::vector<telemetry::Counter*> by_class_;  ///< 1xx … 5xx
    telemetry::Histogram& seconds_;
};

/// Reads one Bearer credential; empty when there is none.
[[nodiscard]] std::string_view bearer_token(const server::Request& request);

}  // namespace millrace::edge::middleware
