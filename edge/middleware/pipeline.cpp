#include "edge/middleware/pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>

#include "shared/base/utf8.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::edge::middleware {

namespace {

constexpr std::string_view k_content_policy = "Content-Security-Policy";
constexpr std::string_view k_resource_policy = "Cross-Origin-Resource-Policy";
constexpr std::string_view k_nothing =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
// What every answer carries, and what those carry beside it that bring no policy of their own.
#define MILLRACE_ALWAYS "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
constexpr std::string_view k_always = MILLRACE_ALWAYS;
constexpr std::string_view k_security_headers = MILLRACE_ALWAYS
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'\r\n"
    "Cross-Origin-Resource-Policy: same-site\r\n";
#undef MILLRACE_ALWAYS
constexpr std::string_view k_cors_request_headers =
    "Authorization, Content-Type, X-API-Key, Prefer, Idempotency-Key, Last-Event-ID";
constexpr std::string_view k_cors_response_headers =
    "Location, Link, ETag, Retry-After, Preference-Applied, X-RateLimit-Limit, "
    "X-RateLimit-Remaining, X-RateLimit-Reset";

std::string client_address(const TrustedProxies& proxies, const server::Request& request) {
    if (proxies.none()) return std::string(request.remote_address);
    std::string forwarded_for;  // a proxy may add a line of its own instead of lengthening one
    for (const auto& [name, value] : request.headers) {
        if (base::ascii_lower(name) != "x-forwarded-for") continue;
        if (!forwarded_for.empty()) forwarded_for += ',';
        forwarded_for += value;
    }
    return proxies.client(request.remote_address, forwarded_for);
}

/// What was acted on; a link's token, which opens something, is not written down.
std::string_view target_of(const Exchange& exchange) {
    const std::string_view pattern = exchange.endpoint->pattern;
    return pattern.contains("{token}") ? pattern : exchange.request.path;
}

/// Operations that make jobs and nothing else: the job is their account.
constexpr std::array<std::string_view, 3> k_accounted_for = {"enqueueJob", "askQuestion",
                                                             "askFromWidget"};

void put(server::Response& response, std::string_view name, std::string_view value) {
    response.headers.emplace_back(name, value);
}

/// In epoch seconds, as the contract has it.
void put_standing(server::Response& response, const Standing& standing) {
    put(response, "X-RateLimit-Limit", std::to_string(standing.limit.max));
    put(response, "X-RateLimit-Remaining", std::to_string(standing.remaining));
    put(response, "X-RateLimit-Reset", std::to_string(reset_seconds(standing)));
}

Priority priority_of(const Exchange& exchange) {
    const auto& endpoint = *exchange.endpoint;
    const bool reads = endpoint.method == server::Method::get;
    if (endpoint.pattern.ends_with("/health")) return Priority::health;
    if (endpoint.auth == Auth::none && !reads) return Priority::visitor;
    if (endpoint.body.stream) return Priority::upload;
    return reads ? Priority::read : Priority::write;
}

/// Who shares places with whom: the tenant, or the address of a holder of a job's token.
Admission::Tenant tenant_of(const Exchange& exchange) {
    if (!exchange.principal) return std::hash<std::string_view>{}(exchange.client_address) | 1;
    Admission::Tenant out = 0;
    std::memcpy(&out, exchange.principal->tenant.uuid.bytes.data() + 8, sizeof out);
    return out | 1;
}

}  // namespace

std::string_view bearer_token(const server::Request& request) {
    const auto value = request.header("authorization");
    constexpr std::string_view scheme = "bearer ";
    if (value.size() <= scheme.size()) return {};
    const bool is_bearer =
        std::ranges::equal(value.substr(0, scheme.size()), scheme, {},
                           [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    return is_bearer ? value.substr(scheme.size()) : std::string_view{};
}

Pipeline::Pipeline(std::vector<Surface> surfaces, std::vector<Endpoint> endpoints,
                   domain::identity::Credentials& credentials,
                   domain::identity::WidgetKeys& widget_keys, domain::audit::Log& audit,
                   RateLimits& limits, StoredAnswers& answers, Admission& admission,
                   telemetry::Tracer& tracer, telemetry::Registry& metrics, PipelineOptions options)
    : surfaces_(std::move(surfaces)),
      endpoints_(std::move(endpoints)),
      credentials_(credentials),
      widget_keys_(widget_keys),
      audit_(audit),
      limits_(limits),
      answers_(answers),
      admission_(admission),
      tracer_(tracer),
      options_(std::move(options)),
      seconds_(metrics.histogram("millrace_http_request_seconds", "Time to the response head", {},
                                 {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60})) {
    for (std::size_t i = 0; i < endpoints_.size(); ++i) {
        router_.add(endpoints_[i].method, endpoints_[i].pattern, i);
        homes_.push_back(&surface_of(surfaces_, endpoints_[i].pattern));
    }
    for (const auto* status : {"1xx", "2xx", "3xx", "4xx", "5xx"}) {
        by_class_.push_back(&metrics.counter("millrace_http_requests_total", "Requests answered",
                                             {{"status", status}}));
    }
}

server::BodyPlan Pipeline::plan(const server::Request& head) {
    const auto match = router_.find(head.method, head.path);
    return match.kind == server::Match::Kind::found ? endpoints_[match.index].body
                                                    : server::BodyPlan{};
}

Task<server::Response> Pipeline::handle(server::Request& request) {
    const auto started = std::chrono::steady_clock::now();
    auto match = router_.find(request.method, request.path);
    const auto& surface = match.kind == server::Match::Kind::found
                              ? *homes_[match.index]
                              : surface_of(surfaces_, request.path);
    auto span =
        tracer_.start_server(fmt::format("{} {}", server::to_string(request.method), surface.name),
                             request.header("traceparent"));
    Exchange exchange{.request = request,
                      .surface = surface,
                      .trace = span.context(),
                      .principal = {},
                      .deadline = Deadline::in(options_.handler_deadline),
                      .client_address = client_address(options_.proxies, request)};
    auto result = co_await dispatch(exchange, std::move(match), span);
    if (!result) span.fail(result.error().log.empty() ? result.error().detail : result.error().log);
    co_await record(exchange, result);
    auto response = result ? std::move(*result) : rendered(surface, result.error(), exchange.trace);
    if (exchange.standing) {
        const auto& standing = *exchange.standing;
        if (!result && !standing.allowed && surface.limit_body)
            response.body = surface.limit_body(standing);
        if (surface.shows_limits) put_standing(response, standing);
    }
    finish_headers(&request, surface, response, exchange.trace);
    span.set("http.response.status_code", std::int64_t{response.status});
    by_class_[static_cast<std::size_t>(std::clamp(response.status / 100, 1, 5)) - 1]->add();
    seconds_.observe(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
    co_return response;
}

Task<Result<server::Response>> Pipeline::dispatch(Exchange& exchange, server::Match match,
                                                  telemetry::Span& span) {
    auto& request = exchange.request;
    if (request.method == server::Method::options && match.kind != server::Match::Kind::found) {
        if (match.kind == server::Match::Kind::not_found)
            co_return fail(ErrorCode::not_found, "there is nothing at this path");
        co_return preflight(request, exchange.surface, match.allow);
    }
    if (match.kind == server::Match::Kind::not_found)
        co_return fail(ErrorCode::not_found, "there is nothing at this path");
    if (match.kind == server::Match::Kind::method_not_allowed) {
        auto response =
            rendered(exchange.surface,
                     fail(ErrorCode::invalid, fmt::format("this path allows {}", match.allow),
                          {.reason = "METHOD_NOT_ALLOWED"})
                         .error(),
                     exchange.trace);
        put(response, "Allow", match.allow);
        co_return response;
    }
    const auto& endpoint = endpoints_[match.index];
    exchange.endpoint = &endpoint;
    request.params = std::move(match.params);
    span.set("http.route", endpoint.pattern);
    CO_TRY_VOID(co_await authenticate(exchange));
    const auto priority = priority_of(exchange);
    auto place = admission_.decide(priority, tenant_of(exchange));
    if (!place) place = co_await admission_.wait(priority, tenant_of(exchange));
    if (!*place) co_return refusal(exchange, place->error());
    exchange.place = std::move(**place);
    if (!endpoint.limits.empty())
        CO_TRY_VOID(co_await take_limits(limits_, exchange, endpoint.limits));
    co_return endpoint.stores_answer ? co_await answers_.once(exchange)
                                     : co_await endpoint.handler(exchange);
}

/// Every act that changes something, and those that were denied to somebody, before its caller
/// hears of it. Not what was malformed, came too often or was refused to nobody in particular:
/// strangers may not fill the log.
Task<void> Pipeline::record(const Exchange& exchange, const Result<server::Response>& result) {
    using domain::audit::Outcome;
    const auto* endpoint = exchange.endpoint;
    if (!endpoint || exchange.repeated || endpoint->method == server::Method::get ||
        std::ranges::find(k_accounted_for, endpoint->operation_id) != k_accounted_for.end())
        co_return;
    auto outcome = Outcome::done;
    if (!result) {
        const auto& error = result.error();
        const bool malformed = error.code == ErrorCode::invalid && error.reason.empty();
        if (malformed || base::is_transient(error.code) || error.code == ErrorCode::too_large)
            co_return;
        outcome = error.code == ErrorCode::unauthenticated || error.code == ErrorCode::forbidden
                      ? Outcome::denied
                      : Outcome::failed;
    } else if (result->status >= 400) {
        outcome = Outcome::failed;
    }
    const auto& who = exchange.principal;
    if (outcome != Outcome::done && !who && exchange.actor.empty()) co_return;
    co_await audit_.write({.actor = who                      ? domain::audit::user_actor(who->user)
                                    : exchange.actor.empty() ? "nobody"
                                                             : exchange.actor,
                           .what = endpoint->operation_id,
                           .outcome = outcome,
                           .tenant = who ? std::optional(who->tenant) : std::nullopt,
                           .details = {{"path", target_of(exchange)}},
                           .client = exchange.client_address,
                           .trace = exchange.trace});
}

Task<Result<void>> Pipeline::authenticate(Exchange& exchange) {
    const auto auth = exchange.endpoint->auth;
    if (auth == Auth::none) co_return Result<void>{};
    if (auth == Auth::widget) {
        CO_TRY(exchange.principal,
               co_await widget_keys_.resolve(std::string(exchange.request.header("x-api-key")),
                                             std::string(exchange.request.header("origin")),
                                             exchange.deadline));
        co_return Result<void>{};
    }
    const bool optional = auth == Auth::optional_bearer || auth == Auth::optional_first_factor;
    if (optional && exchange.request.header("authorization").empty()) co_return Result<void>{};
    const auto token = bearer_token(exchange.request);
    if (token.empty() && auth == Auth::bearer_or_job_token && exchange.request.query_param("token"))
        co_return Result<void>{};
    const auto named = exchange.request.header("x-user-id");
    if (token.empty() && !named.empty() && exchange.surface.user_header &&
        options_.development_users) {
        CO_TRY(exchange.principal,
               co_await options_.development_users->resolve(std::string(named), exchange.deadline));
        co_return Result<void>{};
    }
    if (token.empty()) co_return domain::identity::refuse_credential("none was sent");
    if (const auto* known = credentials_.known(token)) {
        exchange.principal = *known;
    } else {
        CO_TRY(auto resolved, co_await credentials_.resolve(std::string(token), exchange.deadline));
        exchange.principal = std::move(resolved);
    }
    const auto& who = *exchange.principal;
    const auto& audience = exchange.surface.audience;
    if (!audience.empty() && !who.opens(audience))
        co_return domain::identity::refuse_credential("it is for " + who.audience);
    const bool half_will_do = auth == Auth::first_factor || auth == Auth::optional_first_factor;
    if (!who.second_factor && !half_will_do) {
        co_return fail(ErrorCode::forbidden, "the second factor is missing: verify the code",
                       {.reason = "OTP_REQUIRED"});
    }
    co_return Result<void>{};
}

/// What must stay cheap: rendered once a second for all who are refused in it. Their trace id is
/// that of the first of them.
server::Response Pipeline::refusal(const Exchange& exchange, const Error& error) {
    auto& kept = refusals_[{&exchange.surface, error.code}];
    const auto now = std::chrono::steady_clock::now();
    if (now - kept.made > std::chrono::seconds(1)) {
        kept.response = rendered(exchange.surface, error, exchange.trace);
        kept.made = now;
    }
    server::Response out;
    out.status = kept.response.status;
    out.headers = kept.response.headers;
    out.content_type = kept.response.content_type;
    out.body = kept.response.body;
    return out;
}

bool Pipeline::origin_allowed(const Surface& surface, std::string_view path,
                              std::string_view origin) const {
    if (surface.any_origin) return true;
    if (origin.empty()) return false;
    if (std::ranges::find(surface.open_paths, path) != surface.open_paths.end()) return true;
    return std::ranges::find(options_.cors_origins, origin) != options_.cors_origins.end();
}

server::Response Pipeline::preflight(const server::Request& request, const Surface& surface,
                                     std::string_view allow) const {
    server::Response response;
    response.status = 204;
    put(response, "Allow", allow);
    if (origin_allowed(surface, request.path, request.header("origin"))) {
        put(response, "Access-Control-Allow-Methods", allow);
        put(response, "Access-Control-Allow-Headers", k_cors_request_headers);
        put(response, "Access-Control-Max-Age", "600");
    }
    return response;
}

void Pipeline::finish_headers(const server::Request* request, const Surface& surface,
                              server::Response& response,
                              const telemetry::TraceContext& trace) const {
    const auto has = [&response](std::string_view name) {
        return std::ranges::find(response.headers, name,
                                 &std::pair<std::string, std::string>::first) !=
               response.headers.end();
    };
    const bool own_policy = has(k_content_policy), own_reach = has(k_resource_policy);
    response.fixed_headers = own_policy || own_reach ? k_always : k_security_headers;
    if (own_policy != own_reach) {  // the other one is still ours
        own_policy ? put(response, k_resource_policy, "same-site")
                   : put(response, k_content_policy, k_nothing);
    }
    if (!has("Cache-Control")) put(response, "Cache-Control", "no-store");
    put(response, "traceparent", trace.traceparent());
    if (!request) return;
    const auto origin = request->header("origin");
    put(response, "Vary", "Origin");
    if (origin_allowed(surface, request->path, origin)) {
        put(response, "Access-Control-Allow-Origin", surface.any_origin ? "*" : origin);
        put(response, "Access-Control-Expose-Headers", k_cors_response_headers);
    }
}

server::Response Pipeline::rendered(const Surface& surface, const Error& error,
                                    const telemetry::TraceContext& trace, int status) const {
    server::Response response;
    response.status = status != 0 ? status : http_status(error, surface.invalid_status);
    auto body = surface.render(error, response.status, trace);
    response.content_type = std::move(body.content_type);
    response.body = std::move(body.body);
    if (error.retry_after) {
        put(response, "Retry-After", std::to_string(error.retry_after->count()));
    } else if (response.status == 503) {
        put(response, "Retry-After", "1");
    }
    if (response.status == 401) put(response, "WWW-Authenticate", "Bearer");
    // What is refused to stay alive must stay cheap: counted, not logged.
    if (response.status >= 500 && error.reason != k_overloaded) {
        telemetry::log::error(
            "a request failed",
            {{"surface", surface.name},
             {"status", std::int64_t{response.status}},
             {"code", base::to_string(error.code)},
             {"cause", error.log.empty() ? error.detail : error.log},
             {"source", error.source},
             {"at", fmt::format("{}:{}", error.where.file_name(), error.where.line())},
             {"trace_id", trace.trace_id_hex()}});
    }
    return response;
}

server::Response Pipeline::render(const server::Request* head, const Error& error, int status) {
    const auto& surface = head ? surface_of(surfaces_, head->path) : surfaces_.back();
    const auto trace = telemetry::TraceContext::fresh();
    auto response = rendered(surface, error, trace, status);
    finish_headers(head, surface, response, trace);
    return response;
}

}  // namespace millrace::edge::middleware
