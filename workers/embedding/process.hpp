#pragma once
// millrace-worker-embedding, put together.

#include "workers/runtime/process.hpp"

namespace millrace::workers::embedding {

struct Config {
    runtime::Config worker;
    config::Objects objects;
    config::Embeddings embeddings;
    config::Vectors vectors;
    config::Extraction extraction;

    static Config read(config::Loader& in);
};

[[nodiscard]] Task<Result<void>> run(service::Service& service, const Config& config);

}  // namespace millrace::workers::embedding
