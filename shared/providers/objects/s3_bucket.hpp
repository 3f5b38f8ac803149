#pragma once
// Calls to one bucket: signed, repeated while the service is away, and their refusals in the words
// of whoever operates it. Path-style addresses, which every S3-compatible service takes.

#include "shared/config/groups.hpp"
#include "shared/http_client/http_client.hpp"
#include "shared/providers/objects/objects.hpp"
#include "shared/providers/objects/s3_signature.hpp"

namespace millrace::providers::objects {

/// One call; all of them may be made twice.
struct Call {
    std::string method;
    std::string key;  ///< empty: the bucket itself
    Fields query;
    Fields headers;  ///< sent and not signed
    std::string body;
    std::string body_hash;               ///< SHA-256 of body, hex; empty: there is no body
    std::uint64_t answer_bytes_max = 0;  ///< beyond what an error or a list needs
};

class Bucket {
 public:
    Bucket(Executor executor, http_client::Client& http, config::Objects where, S3Options options);

    /// Any answer that will not get better by waiting is a value. `unavailable`: the last of the
    /// attempts failed; `too_large`.
    Task<Result<http_client::Response>> send(Call call);

    /// What an answer other than the expected one means: `not_found` for an object that is not
    /// there, else `unavailable`, with the cause and the setting to look at in the log text.
    [[nodiscard]] std::unexpected<Error> refusal(std::string_view what,
                                                 const http_client::Response& response) const;

    [[nodiscard]] const Executor& executor() const noexcept { return executor_; }
    [[nodiscard]] const S3Options& options() const noexcept { return options_; }

 private:
    [[nodiscard]] http_client::Request request_of(const Call& call) const;

    Executor executor_;
    http_client::Client& http_;
    std::string base_, host_, bucket_;
    Signer signer_;
    S3Options options_;
};

[[nodiscard]] std::unexpected<Error> store_away(std::string log, std::string source = {});

}  // namespace millrace::providers::objects
