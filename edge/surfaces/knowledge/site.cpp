// The pages that are files: the console, the widget's script, and the API's description with its
// viewers.

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "edge/web/assets.hpp"
#include "edge/web/page.hpp"

namespace millrace::edge::surfaces::knowledge {

using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;
using web::Policy;

namespace {

Task<Result<Response>> widget(Ports ports, Exchange& exchange) {
    CO_TRY(auto response, ports.assets.serve(exchange.request, "/widget.js"));
    response.headers.emplace_back("Cross-Origin-Resource-Policy", "cross-origin");
    co_return response;
}

Task<Result<Response>> console(Ports ports, Exchange& exchange) {
    co_return ports.assets.serve(exchange.request, "/console/assets/index.html", Policy::console);
}

Task<Result<Response>> file(Ports ports, Exchange& exchange) {
    co_return ports.assets.serve(exchange.request, exchange.request.path);
}

/// A viewer's page, or what to do to have it.
Task<Result<Response>> viewer(Ports ports, Exchange& exchange, std::string_view page,
                              std::string_view script) {
    if (ports.assets.has(script))
        co_return ports.assets.serve(exchange.request, page, Policy::docs);
    co_return web::html_response(
        404, web::page("This viewer is not installed",
                       "<p>scripts/setup fetches it; MILLRACE_DOCS_DIR names its folder. The "
                       "description itself is at /openapi/knowledge.yaml.</p>",
                       "en"));
}

Task<Result<Response>> swagger(Ports ports, Exchange& exchange) {
    return viewer(ports, exchange, "/docs/assets/swagger.html",
                  "/docs/assets/swagger-ui-bundle.js");
}

Task<Result<Response>> redoc(Ports ports, Exchange& exchange) {
    return viewer(ports, exchange, "/docs/assets/redoc.html", "/docs/assets/redoc.standalone.js");
}

}  // namespace

std::vector<Endpoint> site_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get, "/widget.js", "getWidgetScript", Auth::none, with(widget)},
        {Method::get, "/console", "showConsole", Auth::none, with(console)},
        {Method::get, "/console/assets/{file}", "getConsoleAsset", Auth::none, with(file)},
        {Method::get, "/docs", "showSwaggerUi", Auth::none, with(swagger)},
        {Method::get, "/redoc", "showReDoc", Auth::none, with(redoc)},
        {Method::get, "/docs/assets/{file}", "getDocsAsset", Auth::none, with(file)},
        {Method::get, "/openapi/{file}", "getDescription", Auth::none, with(file)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
