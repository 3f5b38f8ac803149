#pragma once
// The knowledge product: a multi-tenant document chatbot (contract knowledge.md).

#include <string>
#include <vector>

#include "edge/middleware/job_gate.hpp"
#include "edge/surfaces/jobs/jobs.hpp"
#include "shared/domain/identity/accounts.hpp"
#include "shared/domain/jobs/publish.hpp"
#include "shared/domain/knowledge/files.hpp"
#include "shared/object_store/object_store.hpp"

namespace millrace::edge::surfaces::knowledge {

struct Ports {
    domain::identity::Accounts& accounts;
    domain::knowledge::Files& files;
    domain::jobs::Publisher& publisher;
    postgres::Database& pipeline;  ///< millrace_pipeline, for idempotency keys
    object_store::Store& objects;
    middleware::JobGate& gate;
    jobs::Ports jobs;
    const events::Catalog& catalog;
    const std::vector<std::string>& models;  ///< names that a question may use
};

/// `{detail, error_code, timestamp}`; invalid input is 422.
[[nodiscard]] middleware::Surface surface();
[[nodiscard]] std::vector<middleware::Endpoint> auth_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> contents_endpoints(Ports ports);
[[nodiscard]] std::vector<middleware::Endpoint> chats_endpoints(Ports ports);

}  // namespace millrace::edge::surfaces::knowledge
