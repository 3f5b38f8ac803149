// millrace-worker-embedding: documents become searchable.

#include "workers/embedding/process.hpp"

int main(int argc, char** argv) {
    using namespace millrace;
    using workers::embedding::Config;
    int exit_code = 0;
    const auto config = service::load_config<Config>(argc, argv, "millrace-worker-embedding",
                                                     exit_code, Config::read);
    if (!config) return exit_code;
    service::Service service(config->worker.process, "millrace-worker-embedding");
    return service.run([&] { return workers::embedding::run(service, *config); });
}
