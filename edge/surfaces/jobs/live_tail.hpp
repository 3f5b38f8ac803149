#pragma once
// One followed job on this edge, shared by all its clients: one subscription, one read of Redis at
// a time, one view of PostgreSQL's state. What a client is sent depends only on where it stands, so
// clients at the same position share the bytes.

#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "edge/middleware/job_gate.hpp"
#include "edge/middleware/job_watch.hpp"
#include "edge/surfaces/jobs/event_frames.hpp"

namespace millrace::edge::surfaces::jobs {

class LiveTail;

/// The tails of this edge. Must outlive its clients; its parts outlive it.
class LiveTails {
 public:
    struct Parts {
        middleware::JobGate& gate;
        middleware::JobWatch& watch;
        domain::jobs::LiveReader& live;
        redis::Subscriber& subscriber;
        async::TaskGroup& tasks;
    };
    explicit LiveTails(Parts parts) : parts_(parts) {}

    /// The tail of the job, begun from `job` when there is none.
    std::shared_ptr<LiveTail> of(domain::jobs::View job);

 private:
    friend class LiveTail;
    Parts parts_;
    std::unordered_map<base::Uuid, std::weak_ptr<LiveTail>> tails_;
};

class LiveTail : public std::enable_shared_from_this<LiveTail> {
 public:
    using Token = std::uint64_t;
    using ViewPtr = std::shared_ptr<const domain::jobs::View>;

    LiveTail(LiveTails& owner, ViewPtr job);

    /// Sends to `sink` what comes after `from`, until leave() or the end. May send, and thereby
    /// call leave(), before it returns: `token` is set first.
    void join(server::EventSink& sink, Position from, Token& token);
    void leave(Token token);

    /// A state of the job as it was read; older ones are ignored.
    void on_view(ViewPtr job);

    // Memory per job: enough for a client that joins a little late; others read Redis themselves.
    static constexpr std::size_t k_events_max = 128;
    static constexpr std::size_t k_bytes_max = 32 * 1024;

 private:
    struct Client {
        server::EventSink* sink;
        Position at;
        bool catching_up = false;
    };
    struct Step {
        Position at;
        std::shared_ptr<const std::string> frames;  ///< null: nothing new
        bool behind = false;  ///< its next event is older than what is in memory
    };
    struct Made {
        Position from;
        bool tried;
        Step step;
    };

    friend class LiveTails;
    void follow();
    void unfollow();
    void on_live(std::string_view seq);
    void wake();
    static Task<void> pump(std::shared_ptr<LiveTail> self);
    Task<void> read_live();
    void take(std::vector<domain::jobs::LiveEvent> events);
    void trim();
    Task<void> deliver();
    [[nodiscard]] bool is_behind(const Position& at) const;
    [[nodiscard]] Step advance(Position at, bool tried) const;
    Step shared_step(const Position& at, bool tried);
    void settle(Token token, Client& client, const Step& step);
    static Task<void> catch_up(std::shared_ptr<LiveTail> self, Token token);
    Client* find(Token token);

    LiveTails& owner_;
    ViewPtr job_;
    std::map<Token, Client> clients_;
    Token next_token_ = 1;
    redis::Subscriber::Token live_token_ = 0;
    middleware::JobWatch::Token watch_token_ = 0;

    // The newest events of the attempt without a gap: those with base_ < seq <= last_.
    std::deque<domain::jobs::LiveEvent> events_;
    std::size_t bytes_ = 0;
    std::uint32_t base_ = 0, last_ = 0;
    std::uint32_t hole_from_ = 0,
                  hole_to_ = 0;  ///< Redis has none with hole_from_ < seq < hole_to_
    bool ended_ = false;         ///< the job has, and Redis was asked for what it said last

    std::vector<Made> made_;  ///< steps of this version, while it is delivered
    std::uint64_t version_ = 1, made_version_ = 0, delivered_ = 0;
    bool dirty_ = false, pumping_ = false;
    bool missed_ = false;  ///< a client could not catch up: it tries again on the next wake
};

}  // namespace millrace::edge::surfaces::jobs
