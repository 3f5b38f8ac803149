#include "edge/middleware/job_watch.hpp"

#include <algorithm>
#include <cstring>

namespace millrace::edge::middleware {

namespace {
constexpr std::size_t k_batch_max = 512;
constexpr auto k_read_timeout = std::chrono::seconds(2);
}  // namespace

JobWatch::JobWatch(async::TaskGroup& tasks, redis::Subscriber& subscriber,
                   domain::jobs::Reader& reader, Options options)
    : tasks_(tasks),
      subscriber_(subscriber),
      reader_(reader),
      options_(options),
      work_(tasks.executor()) {
    done_token_ = subscriber_.subscribe(
        std::string(domain::jobs::k_done_channel), [this](std::string_view ids) {
            base::Uuid id;
            for (; ids.size() >= id.bytes.size(); ids.remove_prefix(id.bytes.size())) {
                std::memcpy(id.bytes.data(), ids.data(), id.bytes.size());
                remembered(id) = id;
                changed(id);
            }
        });
    subscriber_.on_ready([this] { all_changed(); });  // wake-ups may have been lost meanwhile
    tasks_.spawn("job watch", read_changed());
    tasks_.spawn("job poll", poll());
}

JobWatch::~JobWatch() {
    subscriber_.unsubscribe(done_token_);
}

void JobWatch::changed(const base::Uuid& id) {
    if (!entries_.contains(id)) return;
    to_read_.push_back(id);
    work_.notify_all();
}

void JobWatch::all_changed() {
    for (const auto& [id, entry] : entries_) to_read_.push_back(id);
    work_.notify_all();
}

Task<void> JobWatch::poll() {
    for (;;) {
        co_await async::delay(tasks_.executor(), subscriber_.connected() ? options_.poll_connected
                                                                         : options_.poll_away);
        all_changed();
    }
}

/// One read at a time: what changes meanwhile goes into the next.
Task<void> JobWatch::read_changed() {
    for (;;) {
        while (to_read_.empty()) co_await work_.wait(Deadline::at(base::SteadyTime::max()));
        auto ids = std::exchange(to_read_, {});
        std::ranges::sort(ids);
        ids.erase(std::ranges::unique(ids).begin(), ids.end());
        if (ids.size() > k_batch_max) {
            to_read_.assign(ids.begin() + k_batch_max, ids.end());
            ids.resize(k_batch_max);
        }
        auto views = co_await reader_.find(ids, Deadline::in(k_read_timeout));
        if (!views) continue;  // the next poll asks again
        for (auto& view : *views) take(std::move(view));
    }
}

void JobWatch::take(domain::jobs::View read) {
    const auto found = entries_.find(read.id.uuid);
    if (found == entries_.end()) return;
    auto& entry = found->second;
    const bool same = entry.view && entry.view->status == read.status &&
                      entry.view->attempt == read.attempt &&
                      entry.view->cancel_requested == read.cancel_requested &&
                      entry.view->finished_at == read.finished_at;
    if (!same) entry.view = std::make_shared<const domain::jobs::View>(std::move(read));
    if (domain::jobs::is_final(entry.view->status))
        for (auto* waiter : entry.waiters) waiter->set();
    const auto view = entry.view;
    const auto followers = entry.followers;  // one may leave while it is being told
    for (const auto& [token, on_view] : followers) on_view(view);
}

Task<Result<domain::jobs::View>> JobWatch::wait_final(base::JobId id, async::Event& wake,
                                                      Deadline deadline, bool just_accepted) {
    struct Entered {
        JobWatch& watch;
        base::Uuid id;
        async::Event* event;
        Entered(JobWatch& w, base::Uuid i, async::Event* e) : watch(w), id(i), event(e) {
            watch.entries_[id].waiters.push_back(e);
        }
        Entered(const Entered&) = delete;
        Entered& operator=(const Entered&) = delete;
        ~Entered() {
            std::erase(watch.entries_[id].waiters, event);
            watch.drop_if_unused(id);
        }
    };
    const Entered entered(*this, id.uuid, &wake);
    if (!just_accepted || remembered(id.uuid) == id.uuid) {  // it may have ended already
        to_read_.push_back(id.uuid);
        work_.notify_all();
    }
    co_await wake.wait(deadline);
    if (const auto last = entries_[id.uuid].view) co_return *last;
    CO_TRY(auto read, co_await reader_.find(id, Deadline::in(k_read_timeout)));
    if (!read)
        co_return fail(ErrorCode::unavailable, "the job's state cannot be read now",
                       {.retry_after = std::chrono::seconds(1)});
    co_return std::move(*read);
}

JobWatch::Token JobWatch::follow(base::JobId id, OnView on_view) {
    const auto token = next_token_++;
    entries_[id.uuid].followers.emplace_back(token, std::move(on_view));
    return token;
}

void JobWatch::unfollow(base::JobId id, Token token) {
    const auto found = entries_.find(id.uuid);
    if (found == entries_.end()) return;
    std::erase_if(found->second.followers,
                  [token](const auto& follower) { return follower.first == token; });
    drop_if_unused(id.uuid);
}

void JobWatch::drop_if_unused(const base::Uuid& id) {
    const auto found = entries_.find(id);
    if (found != entries_.end() && found->second.followers.empty() && found->second.waiters.empty())
        entries_.erase(found);
}

}  // namespace millrace::edge::middleware
