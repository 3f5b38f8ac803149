// millrace-worker-mail: letters are sent.

#include "workers/mail/process.hpp"

int main(int argc, char** argv) {
    using namespace millrace;
    using workers::mail::Config;
    int exit_code = 0;
    const auto config =
        service::load_config<Config>(argc, argv, "millrace-worker-mail", exit_code, Config::read);
    if (!config) return exit_code;
    service::Service service(config->worker.process, "millrace-worker-mail");
    return service.run([&] { return workers::mail::run(service, *config); });
}
