#pragma once
// The object store that is configured: a local folder, or a bucket of an S3-compatible service.

#include <memory>

#include "shared/async/offload.hpp"
#include "shared/config/groups.hpp"
#include "shared/http_client/http_client.hpp"
#include "shared/object_store/object_store.hpp"

namespace millrace::providers::objects {

/// The defaults suit a service in the same region. A part is in memory twice while it is sent.
struct S3Options {
    std::size_t part_bytes = 5 << 20;  ///< the least that all services take
    int attempts = 4;
    std::chrono::milliseconds attempt{20'000};  ///< for one attempt, body and answer
    std::chrono::milliseconds call{60'000};     ///< for all attempts of one call together
    std::chrono::milliseconds pause{100};       ///< before the second; doubled after each
};

/// Uploads up to a part go in one call, larger ones in parts: nothing is named before all of it is
/// there. Nothing is asked of the service before the first call. Wrong credentials, a bucket that
/// is not there and a service that is away are `unavailable`, with the cause and the setting in the
/// log text. `http` and `pool`, which computes digests and touches files, outlive the store;
/// close() it.
std::unique_ptr<object_store::Store> make_s3_store(Executor executor, async::Pool& pool,
                                                   http_client::Client& http, config::Objects where,
                                                   S3Options options = {});

/// The configured store.
std::unique_ptr<object_store::Store> make_store(Executor executor, async::Pool& pool,
                                                http_client::Client& http,
                                                const config::Objects& config);

}  // namespace millrace::providers::objects
