// millrace-scheduler: relay, due retries, dead workers, parked keys, orphans, partitions. One
// leads, any number stand by.

#include "shared/service/service.hpp"
#include "workers/scheduler/process.hpp"

int main(int argc, char** argv) {
    using namespace millrace;
    int exit_code = 0;
    const auto config = service::load_config<workers::scheduler::Config>(
        argc, argv, "millrace-scheduler", exit_code, &workers::scheduler::Config::read);
    if (!config) return exit_code;
    service::Service service(config->process, "millrace-scheduler");
    return service.run([&] { return workers::scheduler::run_scheduler(service, *config); });
}
