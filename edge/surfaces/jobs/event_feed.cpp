// One client following one job: events of the running attempt from Redis, the end from PostgreSQL.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "edge/surfaces/jobs/jobs.hpp"
#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "shared/telemetry/log.hpp"

namespace millrace::edge::surfaces::jobs {

using domain::jobs::is_final;
using domain::jobs::LiveEvent;
using domain::jobs::Status;
using domain::jobs::View;

namespace {

constexpr std::uint32_t k_last_seq =
    std::numeric_limits<std::int32_t>::max();  ///< of the event that ends a stream
constexpr auto k_read_timeout = std::chrono::seconds(2);
constexpr auto k_live_timeout = std::chrono::milliseconds(500);
constexpr std::size_t k_live_page = 500;

/// "<job tag>-<attempt>-<seq>-<byte offset>".
struct Cursor {
    int attempt = 0;
    std::uint32_t seq = 0;
    std::uint64_t offset = 0;
};

std::string tag_of(base::JobId id) {
    return id.str().substr(24);
}  // the random tail

/// An id that is not this job's starts from the beginning.
Cursor parse_cursor(std::string_view text, base::JobId id) {
    const auto tag = tag_of(id) + "-";
    if (!text.starts_with(tag)) return {};
    text.remove_prefix(tag.size());
    Cursor out;
    const auto number = [&text](auto& value, char after) {
        const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (ec != std::errc{}) return false;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (after == '\0') return text.empty();
        if (!text.starts_with(after)) return false;
        text.remove_prefix(1);
        return true;
    };
    const bool good = number(out.attempt, '-') && number(out.seq, '-') && number(out.offset, '\0');
    return good && out.attempt >= 0 ? out : Cursor{};
}

std::string answer_of(const View& job) {
    const auto document = json::parse(job.result.value_or("{}"));
    if (!document) return {};
    return document->reader().optional_string("answer").value_or("");
}

class Follower : public std::enable_shared_from_this<Follower> {
 public:
    Follower(Ports ports, View job, Cursor from)
        : ports_(ports), job_(std::move(job)), at_(from), resumed_(from.attempt > 0) {}

    void start(server::EventSink& sink) {
        sink_ = &sink;
        live_token_ = ports_.subscriber.subscribe(domain::jobs::live_channel(job_.id),
                                                  [this](std::string_view) { wake(false); });
        watch_token_ = ports_.watch.follow(job_.id, [this] { wake(true); });
        ports_.gate.followed(job_.id);
        wake(true);
    }

    void stop() noexcept {
        sink_ = nullptr;
        ports_.subscriber.unsubscribe(live_token_);
        ports_.watch.unfollow(job_.id, watch_token_);
        if (!is_final(job_.status)) ports_.gate.abandon(job_);
    }

 private:
    void wake(bool state) {
        live_dirty_ = true;
        state_dirty_ |= state;
        if (pumping_) return;
        pumping_ = true;
        ports_.tasks.spawn("follow", pump(shared_from_this()));
    }

    static Task<void> pump(std::shared_ptr<Follower> self) {
        while (self->sink_ && (self->live_dirty_ || self->state_dirty_)) co_await self->step();
        self->pumping_ = false;
    }

    Task<void> step() {
        const bool read_state = std::exchange(state_dirty_, false);
        live_dirty_ = false;
        if (read_state) {
            auto now = co_await ports_.reader.find(job_.id, Deadline::in(k_read_timeout));
            if (!now) co_return;  // the next poll asks again
            if (*now) job_ = std::move(**now);
            ports_.gate.followed(job_.id);
        }
        begin_attempt();
        say_status();
        co_await say_live();
        if (sink_ && read_state && is_final(job_.status)) say_end();
        flush();
        if (sink_ && ended_) sink_->finish();
    }

    void begin_attempt() {
        if (job_.attempt == at_.attempt) return;
        if (at_.attempt > 0 && (at_.seq > 0 || resumed_)) restart("a new attempt begins");
        at_ = {.attempt = job_.attempt, .seq = 0, .offset = 0};
        lost_ = false;
    }

    void restart(std::string_view reason) {
        at_.offset = 0;
        frame("restart", json::dump(json::Object{{"reason", reason}}));
    }

    void say_status() {
        if (said_status_ == job_.status || (resumed_ && !said_status_)) {
            said_status_ = job_.status;
            return;
        }
        said_status_ = job_.status;
        // No id: a snapshot, not a step of the stream.
        out_ += fmt::format("event: status\ndata: {{\"status\":\"{}\",\"attempt\":{}}}\n\n",
                            domain::jobs::to_string(job_.status), job_.attempt);
    }

    Task<void> say_live() {
        while (!lost_ && at_.attempt > 0 && at_.seq != k_last_seq) {
            const auto events = co_await ports_.live.after(job_.id, at_.attempt, at_.seq,
                                                           Deadline::in(k_live_timeout));
            if (!events)
                co_return;  // Redis is away: what was missed is found by its number, or in the
                            // result
            for (const auto& event : *events) {
                if (event.seq != at_.seq + 1) {
                    lost_ = true;
                    restart("the stream was lost; the result follows");
                    co_return;
                }
                at_.seq = event.seq;
                // Said already, from the result, while Redis was away.
                if (event.type == "delta" && event.offset <= at_.offset) continue;
                at_.offset = event.offset;
                frame(event.type, event.data);
            }
            if (events->size() < k_live_page) co_return;
        }
    }

    void say_end() {
        if (job_.status == Status::succeeded) {
            const auto answer = answer_of(job_);
            if (at_.offset > answer.size()) restart("the answer begins again");
            if (at_.offset < answer.size()) {
                std::string data = R"({"text":)";
                json::append_quoted(data, std::string_view(answer).substr(at_.offset));
                at_.offset = answer.size();
                frame("delta", data + "}");
            }
            at_.seq = k_last_seq;
            frame("result", *job_.result);
        } else {
            const auto error = middleware::job_error(job_);
            at_.seq = k_last_seq;
            frame("error",
                  json::dump(json::Object{
                      {"status", domain::jobs::to_string(job_.status)},
                      {"code", error.reason.empty() ? std::string(base::to_string(error.code))
                                                    : error.reason},
                      {"message", error.detail}}));
        }
        ended_ = true;
    }

    void frame(std::string_view type, std::string_view data) {
        out_ += fmt::format("id: {}-{}-{}-{}\nevent: {}\ndata: {}\n\n", tag_of(job_.id),
                            at_.attempt, at_.seq, at_.offset, type, data);
    }

    void flush() {
        if (sink_ && !out_.empty())
            sink_->send(std::make_shared<const std::string>(std::exchange(out_, {})));
    }

    Ports ports_;
    View job_;
    Cursor at_;
    bool resumed_;
    server::EventSink* sink_ = nullptr;
    redis::Subscriber::Token live_token_ = 0;
    middleware::JobWatch::Token watch_token_ = 0;
    std::optional<Status> said_status_;
    std::string out_;
    bool live_dirty_ = false, state_dirty_ = false, pumping_ = false;
    bool lost_ = false;  ///< Redis does not have this attempt's events any more
    bool ended_ = false;
};

/// What the server owns.
class Feed final : public server::EventFeed {
 public:
    explicit Feed(std::shared_ptr<Follower> follower) : follower_(std::move(follower)) {}
    void start(server::EventSink& sink) override { follower_->start(sink); }
    void stopped() noexcept override { follower_->stop(); }

 private:
    std::shared_ptr<Follower> follower_;
};

}  // namespace

Task<Result<server::Response>> follow(Ports ports, View job, std::string last_event_id) {
    const auto from = parse_cursor(last_event_id, job.id);
    server::Response response;
    if (is_final(job.status) && from.attempt == job.attempt && from.seq == k_last_seq) {
        response.status = 204;  // stops the browser's reconnection
        co_return response;
    }
    response.content_type = "text/event-stream";
    response.headers.emplace_back("Cache-Control", "no-cache");
    response.headers.emplace_back("X-Accel-Buffering", "no");
    response.body = fmt::format("retry: {}\n\n", 2000 + base::random_u32() % 3000);
    response.feed = std::make_unique<Feed>(std::make_shared<Follower>(ports, std::move(job), from));
    co_return response;
}

}  // namespace millrace::edge::surfaces::jobs
