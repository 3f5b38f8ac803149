#include <map>
#include <optional>
#include <set>

#include "shared/redis/link.hpp"

namespace millrace::redis {

namespace {

constexpr auto k_ping_every = std::chrono::seconds(5);

class AsyncSubscriber final : public Subscriber {
 public:
    AsyncSubscriber(Executor executor, Options options)
        : timer_(executor),
          alive_(std::make_shared<bool>(true)),
          link_(executor, std::move(options),
                {.up = [this] { resubscribe(); },
                 .down =
                     [this] {
                         unanswered_ = 0;
                         awaited_.reset();
                     }}) {
        ping_later();
    }

    ~AsyncSubscriber() override { *alive_ = false; }

    Token subscribe(std::string channel, OnMessage on_message) override {
        const auto token = next_token_++;
        auto& handlers = channels_[channel];
        const bool first = handlers.empty();
        handlers.emplace(token, std::move(on_message));
        tokens_.emplace(token, channel);
        if (first) send("SUBSCRIBE", channel);
        return token;
    }

    void unsubscribe(Token token) override {
        const auto named = tokens_.find(token);
        if (named == tokens_.end()) return;
        const auto channel = channels_.find(named->second);
        channel->second.erase(token);
        if (channel->second.empty()) {
            send("UNSUBSCRIBE", channel->first);
            confirmed(channel->first);  // nobody waits for it any more
            channels_.erase(channel);
        }
        tokens_.erase(named);
    }

    void on_ready(std::function<void()> callback) override {
        ready_.push_back(std::move(callback));
    }
    [[nodiscard]] bool connected() const override { return link_.connected(); }

 private:
    void send(std::string_view command, const std::string& channel) {
        (void)link_.send(
            {std::string(command), channel},
            [](redisAsyncContext*, void* reply, void* self) {
                static_cast<AsyncSubscriber*>(self)->take(static_cast<const redisReply*>(reply));
            },
            this);
    }

    void resubscribe() {
        unanswered_ = 0;
        awaited_.emplace();
        for (const auto& [channel, handlers] : channels_) {
            awaited_->insert(channel);
            send("SUBSCRIBE", channel);
        }
        tell_ready();
    }

    /// Only a confirmed subscription misses nothing: what is read on another connection meanwhile
    /// may be older than it.
    void tell_ready() {
        if (!awaited_ || !awaited_->empty()) return;
        awaited_.reset();
        const auto callbacks = ready_;  // one may add another
        for (const auto& callback : callbacks) callback();
    }

    void confirmed(const std::string& channel) {
        if (!awaited_) return;
        awaited_->erase(channel);
        tell_ready();
    }

    void take(const redisReply* reply) {
        if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) return;
        const auto text = [reply](std::size_t i) {
            return std::string_view(reply->element[i]->str, reply->element[i]->len);
        };
        if (text(0) == "subscribe") return confirmed(std::string(text(1)));
        if (text(0) != "message") return;
        const auto channel = channels_.find(std::string(text(1)));
        if (channel == channels_.end()) return;
        auto handlers = channel->second;  // a handler may unsubscribe
        for (const auto& [token, on_message] : handlers) on_message(text(2));
    }

    /// A peer that vanished without a word is noticed by a PING that nobody answers.
    void ping_later() {
        timer_.expires_after(k_ping_every);
        timer_.async_wait([this, alive = alive_](const boost::system::error_code& ec) {
            if (ec || !*alive) return;
            if (unanswered_ > 1) {
                link_.reset("it has stopped answering");
            } else if (link_.connected() && !channels_.empty()) {
                ++unanswered_;
                probe();
            }
            ping_later();
        });
    }

    void probe();

    async::Timer timer_;
    std::shared_ptr<bool> alive_;
    std::map<std::string, std::map<Token, OnMessage>> channels_;
    std::map<Token, std::string> tokens_;
    std::vector<std::function<void()>> ready_;
    std::optional<std::set<std::string>>
        awaited_;  ///< channels a new connection has not confirmed; none: ready was told
    Token next_token_ = 1;
    int unanswered_ = 0;
    Link link_;
};

/// hiredis before 1.0 takes the reply to PING in subscribed state for a message without a
/// subscriber, so a subscription that is made anew, and confirmed, does the same service.
void AsyncSubscriber::probe() {
    (void)link_.send(
        {"SUBSCRIBE", "millrace:ping"},
        [](redisAsyncContext*, void* reply, void* self) {
            if (reply) static_cast<AsyncSubscriber*>(self)->unanswered_ = 0;
        },
        this);
}

}  // namespace

std::unique_ptr<Subscriber> make_subscriber(Executor executor, Options options) {
    return std::make_unique<AsyncSubscriber>(std::move(executor), std::move(options));
}

}  // namespace millrace::redis
