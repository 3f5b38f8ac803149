#pragma once
// Who waits for which job on this edge. Redis wakes at once; PostgreSQL says what is true, asked
// for all waiters in one batch.

#include <array>
#include <functional>
#include <memory>
#include <unordered_map>

#include "shared/async/event.hpp"
#include "shared/async/task_group.hpp"
#include "shared/domain/jobs/live.hpp"
#include "shared/domain/jobs/view.hpp"
#include "shared/redis/redis.hpp"

namespace millrace::edge::middleware {

class JobWatch {
 public:
    struct Options {
        std::chrono::milliseconds poll_connected{2000};  ///< a lost wake-up costs at most this
        std::chrono::milliseconds poll_away{200};        ///< while Redis is away
    };

    JobWatch(async::TaskGroup& tasks, redis::Subscriber& subscriber, domain::jobs::Reader& reader,
             Options options);
    ~JobWatch();

    /// An existing job once it has ended, or as it was last seen at the deadline; `unavailable`
    /// when it could not be read at all. `wake` is the caller's: setting it ends the wait early.
    /// `just_accepted`: by this process, a moment ago; it is read only when something is heard.
    Task<Result<domain::jobs::View>> wait_final(base::JobId id, async::Event& wake,
                                                Deadline deadline, bool just_accepted);

    /// Calls `on_view` with the job's state each time it was read: when it may have changed, and on
    /// every poll. The same object while nothing has. From the io thread; until unfollow().
    using ViewPtr = std::shared_ptr<const domain::jobs::View>;
    using OnView = std::function<void(const ViewPtr& job)>;
    using Token = std::uint64_t;
    Token follow(base::JobId id, OnView on_view);
    void unfollow(base::JobId id, Token token);
    /// Reads the job soon: the caller has a sign that it has changed.
    void look(base::JobId id) { changed(id.uuid); }

    [[nodiscard]] std::size_t waiting() const noexcept { return entries_.size(); }

 private:
    struct Entry {
        std::vector<std::pair<Token, OnView>> followers;
        std::vector<async::Event*> waiters;
        ViewPtr view;  ///< the last one read
    };

    static constexpr std::size_t k_remembered = 4096;
    /// Where an end is remembered, for whoever begins to wait a moment too late. A later one may
    /// take its place: the next poll finds what was missed.
    [[nodiscard]] base::Uuid& remembered(const base::Uuid& id) {
        return ended_[(std::hash<base::Uuid>{}(id) >> 16) % k_remembered];
    }
    Task<void> read_changed();
    Task<void> poll();
    void changed(const base::Uuid& id);
    void all_changed();
    void take(domain::jobs::View read);
    void drop_if_unused(const base::Uuid& id);

    async::TaskGroup& tasks_;
    redis::Subscriber& subscriber_;
    domain::jobs::Reader& reader_;
    Options options_;
    std::unordered_map<base::Uuid, Entry> entries_;
    std::vector<base::Uuid> to_read_;
    std::array<base::Uuid, k_remembered> ended_{};
    async::Event work_;
    Token next_token_ = 1;
    redis::Subscriber::Token done_token_ = 0;
};

}  // namespace millrace::edge::middleware
