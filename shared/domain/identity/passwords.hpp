#pragma once
// Passwords: Argon2id (RFC 9106) in a pool of one thread, since hashing is the cheapest way to
// flood a small machine.

#include <optional>
#include <string>

#include "shared/async/offload.hpp"
#include "shared/base/result.hpp"

namespace millrace::domain::identity {

class Passwords {
 public:
    explicit Passwords(Executor executor);

    /// A PHC string. `rate_limited` while 16 others wait.
    Task<Result<std::string>> hash(std::string password);
    /// The same work when there is no hash to compare with; then false.
    Task<Result<bool>> verify(std::optional<std::string> hash, std::string password);
    void stop() { pool_.stop(); }

 private:
    template <class Fn>
    Task<Result<std::invoke_result_t<Fn>>> work(Fn fn);

    Executor executor_;
    async::Pool pool_{1};
    int waiting_ = 0;
    std::string dummy_;
};

}  // namespace millrace::domain::identity
