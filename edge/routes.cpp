#include "edge/routes.hpp"

#include <iterator>

namespace millrace::edge {

std::vector<middleware::Surface> all_surfaces(bool development) {
    return {surfaces::knowledge::surface(),
            surfaces::diary::surface(),
            surfaces::karte::surface(),
            surfaces::planner::surface(development),
            surfaces::habits::surface(),
            middleware::problem_surface()};  // the last one owns what nobody owns
}

std::vector<middleware::Endpoint> all_endpoints(const Ports& ports) {
    std::vector<middleware::Endpoint> out;
    const auto add = [&out](std::vector<middleware::Endpoint> more) {
        out.insert(out.end(), std::make_move_iterator(more.begin()),
                   std::make_move_iterator(more.end()));
    };
    add(surfaces::jobs::endpoints(ports.jobs));
    add(surfaces::knowledge::auth_endpoints(ports.knowledge));
    add(surfaces::knowledge::tenants_endpoints(ports.knowledge));
    add(surfaces::knowledge::page_endpoints(ports.knowledge));
    add(surfaces::knowledge::site_endpoints(ports.knowledge));
    add(surfaces::knowledge::contents_endpoints(ports.knowledge));
    add(surfaces::knowledge::generations_endpoints(ports.knowledge));
    add(surfaces::knowledge::chats_endpoints(ports.knowledge));
    add(surfaces::knowledge::conversations_endpoints(ports.knowledge));
    add(surfaces::knowledge::api_keys_endpoints(ports.knowledge));
    add(surfaces::knowledge::billing_endpoints(ports.knowledge));
    add(surfaces::diary::auth_endpoints(ports.diary));
    add(surfaces::diary::sessions_endpoints(ports.diary));
    add(surfaces::diary::profile_endpoints(ports.diary));
    add(surfaces::karte::auth_endpoints(ports.karte));
    add(surfaces::planner::health_endpoints(ports.planner));
    add(surfaces::planner::otp_endpoints(ports.planner));
    add(surfaces::planner::test_endpoints(ports.planner));
    add(surfaces::habits::quota_endpoints(ports.habits));
    return out;
}

}  // namespace millrace::edge
