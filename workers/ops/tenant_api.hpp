#pragma once
// The public API, called as the owner of a tenant: what an operator does for a customer goes the
// way that the customer's own requests go.

#include <filesystem>
#include <string>

#include "shared/domain/identity/sessions.hpp"
#include "shared/http_client/http_client.hpp"
#include "workers/ops/command.hpp"

namespace millrace::workers::ops {

/// `name`: a tenant's id or domain; empty: the only tenant that has documents.
Task<Result<domain::identity::Principal>> find_owner(Context& context, std::string name);

/// A session of that owner for one day: its token.
Task<Result<std::string>> sign_in(Context& context, domain::identity::Principal owner);

class TenantApi {
 public:
    TenantApi(Context& context, std::string token);

    using Headers = std::vector<std::pair<std::string, std::string>>;
    /// Any status below 400 is a value; 429 and 503 are waited out while the deadline allows; the
    /// others are errors with the API's words.
    Task<Result<http_client::Response>> call(std::string method, std::string path, std::string body,
                                             Headers headers, Deadline deadline);

    struct Uploaded {
        std::string file_id, job_id;
    };
    Task<Result<Uploaded>> upload(std::filesystem::path file, std::string key, Deadline deadline);
    /// Waits for the end of a job; its JSON.
    Task<Result<std::string>> wait_job(std::string id, Deadline deadline);

 private:
    Executor executor_;
    std::string token_;
    std::string url_;
    std::unique_ptr<http_client::Client> http_;
};

}  // namespace millrace::workers::ops
