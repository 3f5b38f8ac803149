#include "shared/redis/link.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/crypto.hpp"

namespace millrace::redis {

namespace {
using Descriptor = boost::asio::posix::basic_stream_descriptor<Executor>;
constexpr auto k_backoff_first = std::chrono::milliseconds(50);
constexpr auto k_backoff_max = std::chrono::milliseconds(1000);
}  // namespace

/// hiredis asks to be told when its socket is readable or writable; the descriptor stays hiredis'
/// own.
struct Link::Watch : std::enable_shared_from_this<Link::Watch> {
    Watch(Executor executor, redisAsyncContext* c) : context(c), socket(executor, c->c.fd) {}

    redisAsyncContext* context;  ///< null once hiredis has let go
    Descriptor socket;
    bool reading = false, read_armed = false, writing = false, write_armed = false;

    void arm_read() {
        reading = true;
        if (std::exchange(read_armed, true)) return;
        socket.async_wait(Descriptor::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& ec) {
                              self->read_armed = false;
                              if (ec || !self->context || !self->reading) return;
                              redisAsyncHandleRead(self->context);
                              if (self->context && self->reading) self->arm_read();
                          });
    }
    void arm_write() {
        writing = true;
        if (std::exchange(write_armed, true)) return;
        socket.async_wait(Descriptor::wait_write,
                          [self = shared_from_this()](const boost::system::error_code& ec) {
                              self->write_armed = false;
                              if (ec || !self->context || !self->writing) return;
                              redisAsyncHandleWrite(self->context);
                              if (self->context && self->writing) self->arm_write();
                          });
    }
    void release() {
        context = nullptr;
        if (socket.is_open()) socket.release();  // cancels the waits; hiredis closes the descriptor
    }
};

Link::Link(Executor executor, Options options, Hooks hooks)
    : executor_(executor),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      self_(std::make_shared<Link*>(this)),
      timer_(executor) {
    auto address = parse_url(options_.url);
    check(address.has_value(), "the configuration checks the Redis URL");
    address_ = std::move(*address);
    connect();
}

Link::~Link() {
    stopping_ = true;
    *self_ = nullptr;
    if (context_) redisAsyncFree(context_);
}

void Link::connect() {
    auto* context = address_.unix_path.empty()
                        ? redisAsyncConnect(address_.host.c_str(), address_.port)
                        : redisAsyncConnectUnix(address_.unix_path.c_str());
    check(context != nullptr, "hiredis has memory");
    if (context->err != 0) {
        const std::string why = context->errstr;
        redisAsyncFree(context);
        return lost(why);
    }
    context_ = context;
    context->data = this;
    watch_ = std::make_shared<Watch>(executor_, context);
    context->ev.data = watch_.get();
    context->ev.addRead = [](void* w) { static_cast<Watch*>(w)->arm_read(); };
    context->ev.delRead = [](void* w) { static_cast<Watch*>(w)->reading = false; };
    context->ev.addWrite = [](void* w) { static_cast<Watch*>(w)->arm_write(); };
    context->ev.delWrite = [](void* w) { static_cast<Watch*>(w)->writing = false; };
    context->ev.cleanup = [](void* w) { static_cast<Watch*>(w)->release(); };
    redisAsyncSetConnectCallback(context, [](const redisAsyncContext* c, int status) {
        auto* link = static_cast<Link*>(c->data);
        if (status != REDIS_OK) return link->lost(c->errstr);  // hiredis frees the context
        link->hello();
    });
    redisAsyncSetDisconnectCallback(context, [](const redisAsyncContext* c, int) {
        static_cast<Link*>(c->data)->lost(c->err != 0 ? c->errstr : "closed");
    });
    timer_.expires_after(options_.connect_timeout);
    timer_.async_wait([this, self = self_](const boost::system::error_code& ec) {
        if (!ec && *self && !up_) reset("connecting took too long");
    });
}

void Link::hello() {
    timer_.cancel();
    const auto ignore = [](redisAsyncContext*, void*, void*) {};
    if (!address_.password.empty())
        redisAsyncCommand(context_, ignore, nullptr, "AUTH %s", address_.password.c_str());
    if (address_.database != 0)
        redisAsyncCommand(context_, ignore, nullptr, "SELECT %d", address_.database);
    if (!options_.client_name.empty())
        redisAsyncCommand(context_, ignore, nullptr, "CLIENT SETNAME %s",
                          options_.client_name.c_str());
    backoff_ = k_backoff_first;
    up_ = true;
    hooks_.up();
}

/// hiredis frees the context after this, or has never had one.
void Link::lost(std::string_view why) {
    const bool was_up = std::exchange(up_, false);
    context_ = nullptr;
    watch_.reset();
    if (stopping_) return;
    if (options_.on_event)
        options_.on_event(
            fmt::format("{}: {}", was_up ? "connection lost" : "cannot connect", why));
    hooks_.down();
    connect_later();
}

void Link::connect_later() {
    timer_.expires_after(backoff_ + std::chrono::milliseconds(base::random_u32() % 50));
    backoff_ = std::min(backoff_ * 2, std::chrono::milliseconds(k_backoff_max));
    timer_.async_wait([this, self = self_](const boost::system::error_code& ec) {
        if (!ec && *self) connect();
    });
}

void Link::reset(std::string_view why) {
    if (!context_) return;
    auto* context = std::exchange(context_, nullptr);
    const auto keep = watch_;
    context->onDisconnect = nullptr;
    context->onConnect = nullptr;
    up_ = false;
    redisAsyncFree(context);  // answers every pending command with nothing
    lost(why);
}

bool Link::send(const Args& args, redisCallbackFn* on_reply, void* data) {
    if (!up_) return false;
    std::vector<const char*> parts;
    std::vector<std::size_t> sizes;
    parts.reserve(args.size());
    sizes.reserve(args.size());
    for (const auto& arg : args) {
        parts.push_back(arg.data());
        sizes.push_back(arg.size());
    }
    return redisAsyncCommandArgv(context_, on_reply, data, static_cast<int>(args.size()),
                                 parts.data(), sizes.data()) == REDIS_OK;
}

Result<Reply> reply_of(const redisReply* reply) {
    if (!reply)
        return fail(ErrorCode::unavailable, "the cache cannot be reached",
                    {.log = "Redis: the connection was lost"});
    switch (reply->type) {
        case REDIS_REPLY_ERROR: {
            const std::string text(reply->str, reply->len);
            const auto word = text.substr(0, text.find(' '));
            const bool passing = word == "LOADING" || word == "MASTERDOWN" || word == "OOM" ||
                                 word == "BUSY" || word == "TRYAGAIN" || word == "CLUSTERDOWN" ||
                                 word == "READONLY";
            return fail(passing ? ErrorCode::unavailable : ErrorCode::internal,
                        "the cache refused a command",
                        {.log = "Redis: " + text, .source = "redis:" + word});
        }
        case REDIS_REPLY_INTEGER:
            return Reply{std::int64_t{reply->integer}};
        case REDIS_REPLY_ARRAY: {
            Array items;
            items.reserve(reply->elements);
            for (std::size_t i = 0; i < reply->elements; ++i) {
                TRY(auto item, reply_of(reply->element[i]));
                items.push_back(std::move(item));
            }
            return Reply{std::move(items)};
        }
        case REDIS_REPLY_NIL:
            return Reply{};
        default:
            return Reply{std::string(reply->str, reply->len)};
    }
}

std::int64_t Reply::integer() const noexcept {
    const auto* number = std::get_if<std::int64_t>(&value);
    return number ? *number : 0;
}

std::string_view Reply::text() const noexcept {
    const auto* text = std::get_if<std::string>(&value);
    return text ? std::string_view(*text) : std::string_view{};
}

const Array& Reply::array() const noexcept {
    static const Array none;
    const auto* items = std::get_if<Array>(&value);
    return items ? *items : none;
}

}  // namespace millrace::redis
