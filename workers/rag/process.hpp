#pragma once
// millrace-worker-rag, put together.

#include "workers/runtime/process.hpp"

namespace millrace::workers::rag {

struct Config {
    runtime::Config worker;
    config::Models models;
    config::Embeddings embeddings;
    config::Secrets secrets;
    config::Vectors vectors;

    static Config read(config::Loader& in);
};

[[nodiscard]] Task<Result<void>> run(service::Service& service, const Config& config);

}  // namespace millrace::workers::rag
