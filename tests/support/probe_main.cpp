// millrace-worker-probe: see probe_worker.hpp.

#include "tests/support/probe_mail.hpp"
#include "tests/support/probe_worker.hpp"
#include "workers/runtime/process.hpp"

namespace {

using namespace millrace;

struct Config {
    workers::runtime::Config worker;
    config::Secrets secrets;
    static Config read(config::Loader& in) {
        return {workers::runtime::Config::read(in, "probe"), config::Secrets::read(in)};
    }
};

Task<Result<void>> run(service::Service& service, const Config& config) {
    const auto& kafka = config.worker.kafka;
    CO_TRY(const auto catalog, events::Catalog::load(kafka.topics_file, kafka.topic_suffix));
    co_return co_await workers::runtime::run_worker(
        service, config.worker, "probe",
        [&](workers::runtime::Resources resources) -> Result<workers::runtime::Handlers> {
            auto handlers = tests::probe_handlers();
            handlers["probe.mail"] =
                tests::probe_mail_handler(catalog, resources.app, config.secrets.key);
            return handlers;
        });
}

}  // namespace

int main(int argc, char** argv) {
    int exit_code = 0;
    const auto config =
        service::load_config<Config>(argc, argv, "millrace-worker-probe", exit_code, Config::read);
    if (!config) return exit_code;
    service::Service service(config->worker.process, "millrace-worker-probe");
    return service.run([&] { return run(service, *config); });
}
