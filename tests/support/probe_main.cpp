// millrace-worker-probe: see probe_worker.hpp.

#include "tests/support/probe_worker.hpp"
#include "workers/runtime/process.hpp"

int main(int argc, char** argv) {
    using namespace millrace;
    using workers::runtime::Config;
    int exit_code = 0;
    const auto config = service::load_config<Config>(
        argc, argv, "millrace-worker-probe", exit_code,
        +[](config::Loader& in) { return Config::read(in, "probe"); });
    if (!config) return exit_code;
    service::Service service(config->process, "millrace-worker-probe");
    return service.run([&] {
        return workers::runtime::run_worker(
            service, *config, "probe",
            [](workers::runtime::Resources) -> Result<workers::runtime::Handlers> {
                return tests::probe_handlers();
            });
    });
}
