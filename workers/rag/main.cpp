// millrace-worker-rag: questions are answered.

#include "workers/rag/process.hpp"

int main(int argc, char** argv) {
    using namespace millrace;
    using workers::rag::Config;
    int exit_code = 0;
    const auto config =
        service::load_config<Config>(argc, argv, "millrace-worker-rag", exit_code, Config::read);
    if (!config) return exit_code;
    service::Service service(config->worker.process, "millrace-worker-rag");
    return service.run([&] { return workers::rag::run(service, *config); });
}
