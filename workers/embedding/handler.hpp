#pragma once
// knowledge.embed: a document becomes searchable. Extract in the sandbox, cut into chunks, count
// terms, add vectors where a provider is configured, stage as a new generation, and let the
// completion make that generation visible.

#include <filesystem>

#include "shared/async/offload.hpp"
#include "shared/domain/knowledge/files.hpp"
#include "shared/object_store/object_store.hpp"
#include "shared/providers/embedding/embedding.hpp"
#include "shared/providers/vector/vector.hpp"
#include "shared/sandbox/sandbox.hpp"
#include "workers/embedding/extract/extract.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::embedding {

struct Ports {
    object_store::Store& objects;
    sandbox::Sandbox& sandbox;
    domain::knowledge::Files& files;
    providers::embedding::Embedder* embedder;  ///< null: BM25 alone
    providers::vector::Store& vectors;
    async::Pool& pool;  ///< for cutting
    extract::Programs programs;
    std::filesystem::path scratch;  ///< a folder for the copy that the sandbox reads
};

/// References in `ports` outlive the handler.
[[nodiscard]] runtime::Handler make_embed_handler(Ports ports);

}  // namespace millrace::workers::embedding
