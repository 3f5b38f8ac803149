#pragma once
// knowledge.reindex: the documents of a building index generation have all been worked on; is it
// complete, and does it answer the tenant's questions as well as what is live? Then it goes live.

#include "shared/domain/knowledge/generations.hpp"
#include "shared/domain/knowledge/search.hpp"
#include "shared/providers/embedding/embedding.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::embedding {

struct ReindexPorts {
    domain::knowledge::IndexGenerations& generations;
    postgres::Database& app;
    providers::embedding::Embedder* embedder;  ///< null: BM25 alone
    providers::vector::Store& vectors;
};

/// References in `ports` outlive the handler.
[[nodiscard]] runtime::Handler make_reindex_handler(ReindexPorts ports);

}  // namespace millrace::workers::embedding
