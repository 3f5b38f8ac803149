#pragma once
// One hiredis asynchronous context on Asio, and its reconnection. The client and the subscriber are
// built on it.

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <functional>
#include <memory>

#include "shared/async/event.hpp"
#include "shared/redis/redis.hpp"
#include "shared/redis/url.hpp"

namespace millrace::redis {

/// Keeps a connection; tells when it is made and when it is gone. Everything runs on the io thread.
class Link {
 public:
    struct Hooks {
        std::function<void()> up;  ///< connected, authenticated, database selected
        std::function<void()>
            down;  ///< after hiredis has answered every pending command with nothing
    };

    Link(Executor executor, Options options, Hooks hooks);
    ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    [[nodiscard]] bool connected() const noexcept { return up_; }
    /// hiredis' context; null while down.
    [[nodiscard]] redisAsyncContext* context() const noexcept { return up_ ? context_ : nullptr; }
    /// Gives up on this connection: a new one is made.
    void reset(std::string_view why);
    [[nodiscard]] Executor executor() const { return executor_; }

    /// Sends one command of binary-safe arguments; false while down.
    bool send(const Args& args, redisCallbackFn* on_reply, void* data);

 private:
    struct Watch;  // Asio's side of the context's file descriptor

    void connect();
    void connect_later();
    void hello();
    void lost(std::string_view why);

    Executor executor_;
    Options options_;
    Address address_;
    Hooks hooks_;
    redisAsyncContext* context_ = nullptr;
    std::shared_ptr<Watch> watch_;
    std::shared_ptr<Link*> self_;  ///< null inside once this is destroyed: callbacks may still come
    async::Timer timer_;
    std::chrono::milliseconds backoff_{50};
    bool up_ = false, stopping_ = false;
};

/// A reply as a value; an error reply becomes an Error (source "redis:<first word>").
[[nodiscard]] Result<Reply> reply_of(const redisReply* reply);

}  // namespace millrace::redis
