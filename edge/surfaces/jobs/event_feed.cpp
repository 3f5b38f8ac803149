// One client following one job.

#include <fmt/format.h>

#include "edge/surfaces/jobs/jobs.hpp"
#include "shared/base/crypto.hpp"

namespace millrace::edge::surfaces::jobs {

namespace {

class Feed final : public server::EventFeed {
 public:
    Feed(LiveTails& tails, domain::jobs::View job, Position from)
        : tails_(tails), from_(std::make_unique<From>(std::move(job), from)) {}

    void start(server::EventSink& sink) override {
        const auto from = std::move(from_);
        tail_ = tails_.of(std::move(from->job));
        tail_->join(sink, from->at, token_);
    }
    void stopped() noexcept override { tail_->leave(token_); }

 private:
    struct From {
        domain::jobs::View job;
        Position at;
    };
    LiveTails& tails_;
    std::unique_ptr<From> from_;  ///< until it starts
    std::shared_ptr<LiveTail> tail_;
    LiveTail::Token token_ = 0;
};

}  // namespace

Task<Result<server::Response>> follow(Ports ports, domain::jobs::View job,
                                      std::string last_event_id) {
    const auto from = parse_position(last_event_id, job.id);
    server::Response response;
    if (has_seen_end(from, job)) {
        response.status = 204;  // stops the browser's reconnection
        co_return response;
    }
    response.content_type = "text/event-stream";
    response.headers.emplace_back("Cache-Control", "no-cache");
    response.headers.emplace_back("X-Accel-Buffering", "no");
    response.body = fmt::format("retry: {}\n\n", 2000 + base::random_u32() % 3000);
    response.feed = std::make_unique<Feed>(ports.tails, std::move(job), from);
    co_return response;
}

}  // namespace millrace::edge::surfaces::jobs
