#include "edge/routes.hpp"

#include <iterator>

namespace millrace::edge {

std::vector<middleware::Surface> all_surfaces() {
    return {surfaces::knowledge::surface(), surfaces::diary::surface(),
            middleware::problem_surface()};  // the last one owns what nobody owns
}

std::vector<middleware::Endpoint> all_endpoints(surfaces::jobs::Ports jobs,
                                                surfaces::knowledge::Ports knowledge,
                                                surfaces::diary::Ports diary) {
    std::vector<middleware::Endpoint> out = {
        {server::Method::get, "/health", "health", middleware::Auth::none,
         [](middleware::Exchange&) -> Task<Result<server::Response>> {
             co_return middleware::json_response(200, R"({"status":"ok"})");
         }}};
    const auto add = [&out](std::vector<middleware::Endpoint> more) {
        out.insert(out.end(), std::make_move_iterator(more.begin()),
                   std::make_move_iterator(more.end()));
    };
    add(surfaces::jobs::endpoints(jobs));
    add(surfaces::knowledge::auth_endpoints(knowledge));
    add(surfaces::knowledge::contents_endpoints(knowledge));
    add(surfaces::knowledge::chats_endpoints(knowledge));
    add(surfaces::diary::auth_endpoints(diary));
    add(surfaces::diary::sessions_endpoints(diary));
    add(surfaces::diary::profile_endpoints(diary));
    return out;
}

}  // namespace millrace::edge
