#include "workers/mail/process.hpp"

#include "workers/mail/handler.hpp"

namespace millrace::workers::mail {

Config Config::read(config::Loader& in) {
    return {.worker = runtime::Config::read(in, "mail"),
            .secrets = config::Secrets::read(in),
            .mail = config::Mail::read(in)};
}

Task<Result<void>> run(service::Service& service, const Config& config) {
    async::Pool pool(static_cast<std::size_t>(config.mail.smtp_connections));
    const auto sender = providers::mail::make_eml_folder(service.executor(), pool, config.mail.dir);
    co_return co_await runtime::run_worker(
        service, config.worker, "mail",
        [&](runtime::Resources resources) -> Result<runtime::Handlers> {
            return runtime::Handlers{
                {"mail.send", make_send_handler({.app = resources.app,
                                                 .sender = *sender,
                                                 .from = config.mail.from,
                                                 .keys = config.secrets.all()})}};
        });
}

}  // namespace millrace::workers::mail
