#include "workers/mail/process.hpp"

#include <algorithm>

#include "workers/mail/handler.hpp"

namespace millrace::workers::mail {

Config Config::read(config::Loader& in) {
    return {.worker = runtime::Config::read(in, "mail"),
            .secrets = config::Secrets::read(in),
            .mail = config::Mail::read(in)};
}

namespace {

Result<std::unique_ptr<providers::mail::Sender>> make_sender(Executor executor, async::Pool& pool,
                                                             const config::Mail& mail) {
    // A sender that is none would fail every mail: better no start.
    TRY_VOID(providers::mail::compose({.from = mail.from, .to = "postmaster@example.com"}));
    if (!mail.smtp_url.empty())
        return providers::mail::make_smtp(executor, pool, mail.smtp_url, mail.smtp_ca_file);
    return providers::mail::make_eml_folder(executor, pool, mail.dir);
}

}  // namespace

Task<Result<void>> run(service::Service& service, const Config& config) {
    async::Pool pool(static_cast<std::size_t>(config.mail.smtp_connections));
    CO_TRY(const auto sender, make_sender(service.executor(), pool, config.mail));
    auto worker = config.worker;
    // No job waits for a connection while its time runs.
    worker.worker.concurrency = std::min(worker.worker.concurrency, config.mail.smtp_connections);
    co_return co_await runtime::run_worker(
        service, worker, "mail", [&](runtime::Resources resources) -> Result<runtime::Handlers> {
            return runtime::Handlers{
                {"mail.send", make_send_handler({.app = resources.app,
                                                 .sender = *sender,
                                                 .deliveries = Deliveries(resources.app),
                                                 .delivery_max = config.mail.smtp_timeout,
                                                 .from = config.mail.from,
                                                 .keys = config.secrets.all()})}};
        });
}

}  // namespace millrace::workers::mail
