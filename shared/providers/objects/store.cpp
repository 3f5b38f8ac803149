#include "shared/object_store/local_store.hpp"
#include "shared/providers/objects/objects.hpp"

namespace millrace::providers::objects {

std::unique_ptr<object_store::Store> make_store(Executor executor, async::Pool& pool,
                                                http_client::Client& http,
                                                const config::Objects& config) {
    if (config.url.empty())
        return object_store::make_local_store(std::move(executor), pool, config.dir);
    return make_s3_store(std::move(executor), pool, http, config);
}

}  // namespace millrace::providers::objects
