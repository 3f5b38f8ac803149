#pragma once
// The Redis port: commands, scripts, streams, and pub/sub wake-ups. Redis is the wire, never the
// truth: every caller has an answer to `unavailable`.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"

namespace millrace::redis {

struct Reply;
using Array = std::vector<Reply>;
struct Reply {
    std::variant<std::monostate, std::int64_t, std::string, Array>
        value;  ///< monostate = nil; errors become Error

    [[nodiscard]] bool is_nil() const noexcept { return value.index() == 0; }
    /// 0, empty, empty when it is something else.
    [[nodiscard]] std::int64_t integer() const noexcept;
    [[nodiscard]] std::string_view text() const noexcept;
    [[nodiscard]] const Array& array() const noexcept;
};

using Args = std::vector<std::string>;

/// A Lua script, sent by its SHA-1 and loaded again when the server has forgotten it.
struct Script {
    const char* name;
    const char* lua;
};

class Client {
 public:
    virtual ~Client() = default;
    /// `unavailable` at once while disconnected (reconnection runs in the background), `timeout`
    /// past the deadline.
    virtual Task<Result<Reply>> command(Args args, Deadline deadline) = 0;
    virtual Task<Result<Reply>> script(const Script& script, Args keys, Args args,
                                       Deadline deadline) = 0;
    /// Sends and forgets: the reply is counted, not waited for.
    virtual void post(Args args) = 0;
    [[nodiscard]] virtual bool connected() const = 0;
};

/// Wake-ups. Messages may be lost (reconnection, slow reader): the truth stands elsewhere and is
/// read after subscribing.
class Subscriber {
 public:
    using OnMessage = std::function<void(std::string_view payload)>;
    using Token = std::uint64_t;

    virtual ~Subscriber() = default;
    /// Several handlers may follow one channel; the channel is left with its last handler. Handlers
    /// run on the io thread.
    virtual Token subscribe(std::string channel, OnMessage on_message) = 0;
    virtual void unsubscribe(Token token) = 0;
    /// Called after each (re)connection once all channels are subscribed again: read the truth now.
    virtual void on_ready(std::function<void()> callback) = 0;
    [[nodiscard]] virtual bool connected() const = 0;
};

struct Options {
    std::string url;  ///< redis://[:password@]host:port[/db] or unix:///path
    std::string client_name;
    std::chrono::milliseconds connect_timeout{1000};
    std::size_t pending_max = 10'000;  ///< commands in flight; more are refused as `unavailable`
    std::function<void(std::string)> on_event;  ///< connections lost and refused; for the log
};
std::unique_ptr<Client> make_client(Executor executor, Options options);
std::unique_ptr<Subscriber> make_subscriber(Executor executor, Options options);

}  // namespace millrace::redis
