// millrace-edge: HTTP in, jobs accepted, results out. See edge/README.md for the picture.

#include "edge/edge.hpp"

int main(int argc, char** argv) {
    using namespace millrace;
    int exit_code = 0;
    const auto config = service::load_config<edge::Config>(argc, argv, "millrace-edge", exit_code,
                                                           &edge::Config::read);
    if (!config) return exit_code;
    service::Service service(config->process, "millrace-edge");
    return service.run([&] { return edge::run_edge(service, *config); });
}
