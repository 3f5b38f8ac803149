#include "shared/domain/identity/passwords.hpp"

#include <sodium.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>

#include "shared/base/crypto.hpp"

namespace millrace::domain::identity {

namespace {

constexpr int k_waiting_max = 16;
constexpr std::size_t k_argon_memory = 19ULL * 1024 * 1024;  // with 2 passes: OWASP's second set
constexpr unsigned long long k_argon_passes = 2;

std::string argon2id(const std::string& password) {
    std::array<char, crypto_pwhash_STRBYTES> out{};
    const int failed =
        crypto_pwhash_str_alg(out.data(), password.data(), password.size(), k_argon_passes,
                              k_argon_memory, crypto_pwhash_ALG_ARGON2ID13);
    check(failed == 0, "19 MiB are there for a password hash");
    return out.data();
}

bool matches(const std::string& hash, const std::string& password) {
    return crypto_pwhash_str_verify(hash.c_str(), password.data(), password.size()) == 0;
}

}  // namespace

Passwords::Passwords(Executor executor)
    : executor_(std::move(executor)), dummy_(argon2id(base::random_token())) {
    // Whoever only asks must not wait behind passwords: on Linux a thread has a priority of its
    // own.
    asio::post(pool_, [] { ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 10); });
}

template <class Fn>
Task<Result<std::invoke_result_t<Fn>>> Passwords::work(Fn fn) {
    if (waiting_ >= k_waiting_max) {
        co_return fail(ErrorCode::rate_limited, "too many sign-ins at once",
                       {.retry_after = std::chrono::seconds(1)});
    }
    struct Waiting {
        int& count;
        explicit Waiting(int& c) : count(c) { ++count; }
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;
        ~Waiting() { --count; }
    };
    const Waiting waiting(waiting_);
    co_return co_await async::offload(executor_, pool_, std::move(fn));
}

Task<Result<std::string>> Passwords::hash(std::string password) {
    co_return co_await work([password = std::move(password)] { return argon2id(password); });
}

Task<Result<bool>> Passwords::verify(std::optional<std::string> hash, std::string password) {
    const bool known = hash.has_value();
    CO_TRY(const bool right,
           co_await work([hash = hash.value_or(dummy_), password = std::move(password)] {
               return matches(hash, password);
           }));
    co_return known&& right;
}

}  // namespace millrace::domain::identity
