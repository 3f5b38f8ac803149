#pragma once
// millrace-worker-mail, put together.

#include "workers/runtime/process.hpp"

namespace millrace::workers::mail {

struct Config {
    runtime::Config worker;
    config::Secrets secrets;
    config::Mail mail;

    static Config read(config::Loader& in);
};

[[nodiscard]] Task<Result<void>> run(service::Service& service, const Config& config);

}  // namespace millrace::workers::mail
