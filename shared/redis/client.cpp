#include <openssl/sha.h>

#include <array>
#include <cstring>
#include <deque>

#include "shared/async/one_shot.hpp"
#include "shared/base/crypto.hpp"
#include "shared/redis/link.hpp"

namespace millrace::redis {

namespace {

constexpr auto k_tick = std::chrono::milliseconds(20);
constexpr auto k_silence_max = std::chrono::seconds(2);

/// Redis names scripts by their SHA-1.
std::string sha_of(const Script& script) {
    std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
    SHA1(reinterpret_cast<const unsigned char*>(script.lua), std::strlen(script.lua),
         digest.data());
    return base::hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::unexpected<Error> away(std::string_view why) {
    return fail(ErrorCode::unavailable, "the cache cannot be reached",
                {.log = "Redis: " + std::string(why)});
}

/// A command whose reply has not come. hiredis holds one reference through `data`, the client's
/// deadline list another.
struct Pending {
    explicit Pending(Executor executor, Deadline d) : done(std::move(executor)), deadline(d) {}
    async::OneShot<Result<Reply>> done;
    Deadline deadline;
    base::SteadyTime sent = std::chrono::steady_clock::now();
    bool answered = false, replied = false;

    void answer(Result<Reply> reply) {
        if (!std::exchange(answered, true)) done.set(std::move(reply));
    }
};
using PendingPtr = std::shared_ptr<Pending>;

class AsyncClient final : public Client {
 public:
    AsyncClient(Executor executor, Options options)
        : pending_max_(options.pending_max),
          timer_(executor),
          alive_(std::make_shared<bool>(true)),
          link_(executor, std::move(options), {.up = [] {}, .down = [] {}}) {}

    ~AsyncClient() override { *alive_ = false; }

    Task<Result<Reply>> command(Args args, Deadline deadline) override {
        if (!link_.connected()) co_return away("not connected");
        if (pending_.size() >= pending_max_) co_return away("too many commands in flight");
        auto pending = std::make_shared<Pending>(link_.executor(), deadline);
        auto* held = new PendingPtr(
            pending);  // hiredis calls back exactly once, with nothing when the connection goes
        const bool sent = link_.send(
            args,
            [](redisAsyncContext*, void* reply, void* data) {
                const std::unique_ptr<PendingPtr> mine(static_cast<PendingPtr*>(data));
                (*mine)->replied = true;
                (*mine)->answer(reply_of(static_cast<const redisReply*>(reply)));
            },
            held);
        if (!sent) {
            delete held;
            co_return away("the connection is closing");
        }
        pending_.push_back(pending);
        watch_deadlines();
        co_return co_await pending->done.wait();
    }

    Task<Result<Reply>> script(const Script& script, Args keys, Args args,
                               Deadline deadline) override {
        Args call{"EVALSHA", sha_of(script), std::to_string(keys.size())};
        call.insert(call.end(), std::make_move_iterator(keys.begin()),
                    std::make_move_iterator(keys.end()));
        call.insert(call.end(), std::make_move_iterator(args.begin()),
                    std::make_move_iterator(args.end()));
        auto reply = co_await command(call, deadline);
        if (reply || reply.error().source != "redis:NOSCRIPT") co_return reply;
        call[0] = "EVAL";
        call[1] = script.lua;
        co_return co_await command(std::move(call), deadline);
    }

    void post(Args args) override {
        (void)link_.send(args, [](redisAsyncContext*, void*, void*) {}, nullptr);
    }

    [[nodiscard]] bool connected() const override { return link_.connected(); }

 private:
    /// One timer for all deadlines, running only while something is pending.
    void watch_deadlines() {
        if (std::exchange(watching_, true)) return;
        timer_.expires_after(k_tick);
        timer_.async_wait([this, alive = alive_](const boost::system::error_code& ec) {
            if (ec || !*alive) return;
            watching_ = false;
            const auto now = std::chrono::steady_clock::now();
            bool silent = false;
            for (const auto& pending : pending_) {
                silent |= !pending->replied && now - pending->sent > k_silence_max;
                if (pending->deadline.when() <= now) {
                    pending->answer(fail(ErrorCode::timeout, "the cache did not answer in time",
                                         {.log = "Redis: the deadline passed"}));
                }
            }
            std::erase_if(pending_, [](const PendingPtr& p) { return p->replied; });
            if (silent) {
                link_.reset("it has stopped answering");
                pending_.clear();
            }
            if (!pending_.empty()) watch_deadlines();
        });
    }

    std::size_t pending_max_;
    async::Timer timer_;
    std::shared_ptr<bool> alive_;
    std::deque<PendingPtr> pending_;
    bool watching_ = false;
    Link link_;  // last: its end answers what is pending
};

}  // namespace

std::unique_ptr<Client> make_client(Executor executor, Options options) {
    return std::make_unique<AsyncClient>(std::move(executor), std::move(options));
}

}  // namespace millrace::redis
