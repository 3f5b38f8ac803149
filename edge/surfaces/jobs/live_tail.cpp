#include "edge/surfaces/jobs/live_tail.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>

namespace millrace::edge::surfaces::jobs {

using domain::jobs::is_final;
using domain::jobs::LiveEvent;
using domain::jobs::Status;
using domain::jobs::View;

namespace {
constexpr auto k_live_timeout = std::chrono::milliseconds(500);
constexpr std::size_t k_live_page = 500;
constexpr std::size_t k_turn = 128;      ///< clients served before others get the thread
constexpr std::size_t k_positions = 16;  ///< more than these are seldom in use at once

std::size_t size_of(const LiveEvent& event) {
    return sizeof event + event.type.size() + event.data.size();
}
}  // namespace

std::shared_ptr<LiveTail> LiveTails::of(View job) {
    const auto id = job.id.uuid;
    auto view = std::make_shared<const View>(std::move(job));
    if (const auto found = tails_.find(id); found != tails_.end()) {
        if (auto tail = found->second.lock()) {
            // Of two reads of one attempt nobody knows which is the newer, unless it has ended.
            if (is_final(view->status) || view->attempt > tail->job_->attempt)
                tail->on_view(std::move(view));
            return tail;
        }
    }
    auto tail = std::make_shared<LiveTail>(*this, std::move(view));
    tails_[id] = tail;
    return tail;
}

LiveTail::LiveTail(LiveTails& owner, ViewPtr job) : owner_(owner), job_(std::move(job)) {}

void LiveTail::join(server::EventSink& sink, Position from, Token& token) {
    token = next_token_++;
    auto& client = clients_.emplace(token, Client{&sink, from}).first->second;
    if (clients_.size() == 1) follow();  // a tail without clients does not read
    settle(token, client, advance(client.at, false));
}

void LiveTail::leave(Token token) {
    if (clients_.erase(token) > 0 && clients_.empty()) unfollow();
}

void LiveTail::follow() {
    if (!is_final(job_->status)) {
        live_token_ = owner_.parts_.subscriber.subscribe(
            domain::jobs::live_channel(job_->id),
            [this](std::string_view payload) { on_live(payload); });
        watch_token_ =
            owner_.parts_.watch.follow(job_->id, [this](const ViewPtr& job) { on_view(job); });
        owner_.parts_.watch.look(job_->id);  // it may have changed before anybody listened
        owner_.parts_.gate.followed(*job_);
    }
    wake();
}

void LiveTail::unfollow() {
    owner_.parts_.subscriber.unsubscribe(live_token_);
    owner_.parts_.watch.unfollow(job_->id, watch_token_);
    if (!is_final(job_->status)) owner_.parts_.gate.abandon(*job_);
    const auto found = owner_.tails_.find(job_->id.uuid);
    if (found != owner_.tails_.end() && found->second.lock().get() == this)
        owner_.tails_.erase(found);
}

void LiveTail::on_view(ViewPtr job) {
    if (is_final(job_->status) || job->attempt < job_->attempt) return;  // read before ours was
    if (!is_final(job->status)) owner_.parts_.gate.followed(*job);
    const bool changed = job->status != job_->status || job->attempt != job_->attempt;
    if (job->attempt != job_->attempt) {
        events_.clear();
        bytes_ = 0;
        base_ = last_ = hole_from_ = hole_to_ = 0;
    }
    job_ = std::move(job);
    if (changed) ++version_;
    // A wake-up may have been lost: a running attempt is asked on every round.
    if (changed || missed_ || job_->status == Status::running) wake();
}

void LiveTail::on_live(std::string_view seq) {
    // Said by an attempt that is not known yet.
    const bool begins = seq == "1" && last_ > 0;
    if (begins || job_->status != Status::running) owner_.parts_.watch.look(job_->id);
    wake();
}

void LiveTail::wake() {
    dirty_ = true;
    if (std::exchange(pumping_, true)) return;
    owner_.parts_.tasks.spawn("follow", pump(shared_from_this()));
}

Task<void> LiveTail::pump(std::shared_ptr<LiveTail> self) {
    const auto executor = self->owner_.parts_.tasks.executor();
    while (self->dirty_ && !self->clients_.empty()) {
        co_await asio::post(executor, async::use_task);  // what comes together is read together
        self->dirty_ = false;
        co_await self->read_live();
        if (self->version_ != self->delivered_ || self->missed_) co_await self->deliver();
    }
    self->pumping_ = false;
}

Task<void> LiveTail::read_live() {
    const auto job = job_;
    while (!ended_ && job->attempt > 0 && !clients_.empty()) {
        auto events = co_await owner_.parts_.live.after(job->id, job->attempt, last_,
                                                        Deadline::in(k_live_timeout));
        if (job_->attempt != job->attempt) co_return;  // the new one is read next
        if (!events) break;  // what is missed is found by its number, or in the result
        const bool whole_page = events->size() == k_live_page;
        take(std::move(*events));
        if (!whole_page) break;
        co_await deliver();  // before memory has to forget it
        if (job_->attempt != job->attempt) co_return;
    }
    if (is_final(job->status) && !std::exchange(ended_, true)) ++version_;
}

void LiveTail::take(std::vector<LiveEvent> events) {
    for (auto& event : events) {
        if (event.seq != last_ + 1) {
            hole_from_ = last_;
            hole_to_ = event.seq;
            events_.clear();
            bytes_ = 0;
            base_ = event.seq - 1;
        }
        last_ = event.seq;
        bytes_ += size_of(event);
        events_.push_back(std::move(event));
        ++version_;
    }
}

void LiveTail::trim() {
    while (events_.size() > k_events_max || bytes_ > k_bytes_max) {
        bytes_ -= size_of(events_.front());
        base_ = events_.front().seq;
        events_.pop_front();
    }
}

Task<void> LiveTail::deliver() {
    delivered_ = version_;
    missed_ = false;
    Token last = 0;
    for (;;) {
        auto next = clients_.upper_bound(last);
        for (std::size_t served = 0; next != clients_.end() && served < k_turn; ++served) {
            last = next->first;
            if (!next->second.catching_up)
                settle(last, next->second, shared_step(next->second.at, false));
            next = clients_.upper_bound(last);  // whoever was served may have left
        }
        if (next == clients_.end()) break;
        co_await asio::post(owner_.parts_.tasks.executor(), async::use_task);
    }
    made_.clear();
    trim();
}

bool LiveTail::is_behind(const Position& at) const {
    const bool in_hole = at.seq >= hole_from_ && at.seq + 1 < hole_to_;
    return at.attempt == job_->attempt && at.wants_live() && at.seq < base_ && !in_hole;
}

/// `tried`: Redis was asked for what memory does not have, and did not have it or was away.
LiveTail::Step LiveTail::advance(Position at, bool tried) const {
    Step step;
    std::string out;
    say_state(*job_, at, out);
    step.behind = is_behind(at);
    if (at.wants_live() && at.seq < last_ && !step.behind) {
        if (at.seq < base_) say_lost(job_->id, at, out);
        for (auto i = at.seq - base_; !at.lost && i < events_.size(); ++i)
            say_event(job_->id, events_[i], at, out);
    }
    if (ended_ && !at.ended && (tried || !step.behind)) say_end(*job_, at, out);
    step.at = at;
    if (!out.empty()) step.frames = std::make_shared<const std::string>(std::move(out));
    return step;
}

LiveTail::Step LiveTail::shared_step(const Position& at, bool tried) {
    if (std::exchange(made_version_, version_) != version_) made_.clear();
    for (const auto& made : made_)
        if (made.tried == tried && made.from == at) return made.step;
    auto step = advance(at, tried);
    if (made_.size() < k_positions) made_.push_back({at, tried, step});
    return step;
}

void LiveTail::settle(Token token, Client& client, const Step& step) {
    client.at = step.at;
    if (step.behind && !step.at.ended) {
        client.catching_up = true;
        owner_.parts_.tasks.spawn("catch up", catch_up(shared_from_this(), token));
    }
    auto* sink = client.sink;
    if (step.frames) sink->send(step.frames);  // one that does not read is dropped
    if (step.at.ended && find(token)) sink->finish();
}

/// Reads Redis for one client, up to where memory begins.
Task<void> LiveTail::catch_up(std::shared_ptr<LiveTail> self, Token token) {
    co_await asio::post(self->owner_.parts_.tasks.executor(), async::use_task);
    bool got = true;
    while (got) {
        auto* client = self->find(token);
        if (!client) co_return;
        if (!self->is_behind(client->at)) break;
        const auto events = co_await self->owner_.parts_.live.after(
            self->job_->id, client->at.attempt, client->at.seq, Deadline::in(k_live_timeout));
        client = self->find(token);
        if (!client) co_return;
        got = events && !events->empty();
        if (!got) break;
        std::string out;
        for (const auto& event : *events) {
            if (!client->at.lost) say_event(self->job_->id, event, client->at, out);
        }
        if (!out.empty()) client->sink->send(std::make_shared<const std::string>(std::move(out)));
    }
    auto* client = self->find(token);
    if (!client) co_return;
    client->catching_up = false;
    auto step = self->advance(client->at, !got);
    if (!got && std::exchange(step.behind, false)) self->missed_ = true;
    self->settle(token, *client, step);
}

LiveTail::Client* LiveTail::find(Token token) {
    const auto found = clients_.find(token);
    return found == clients_.end() ? nullptr : &found->second;
}

}  // namespace millrace::edge::surfaces::jobs
