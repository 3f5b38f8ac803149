#include "edge/server/event_connection.hpp"

#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/container/static_vector.hpp>

namespace millrace::edge::server {

namespace {
constexpr std::size_t k_frames_per_write = 64;

const std::shared_ptr<const std::string>& heartbeat_frame() {
    static const auto frame = std::make_shared<const std::string>(": hb\n\n");
    return frame;
}
}  // namespace

EventConnection::EventConnection(Socket socket, std::unique_ptr<EventFeed> feed,
                                 const Limits& limits, OnEnd on_end)
    : socket_(std::move(socket)),
      feed_(std::move(feed)),
      limits_(limits),
      on_end_(std::move(on_end)),
      last_write_(std::chrono::steady_clock::now()) {}

void EventConnection::start() {
    watch_peer();
    feed_->start(*this);
}

/// A client of an event stream has nothing more to say: whatever becomes readable is its end, or to
/// be ignored.
void EventConnection::watch_peer() {
    socket_.async_wait(
        Socket::wait_read, [self = shared_from_this()](const boost::system::error_code& ec) {
            if (ec || self->ended_) return;
            std::array<char, 512> ignored;
            boost::system::error_code failed;
            const auto size = self->socket_.read_some(boost::asio::buffer(ignored), failed);
            const bool again = failed == boost::asio::error::would_block;
            if ((failed && !again) || (!failed && size == 0)) return self->end();
            self->watch_peer();
        });
}

void EventConnection::send(std::shared_ptr<const std::string> frames) {
    if (ended_ || finishing_ || frames->empty()) return;
    queued_ += frames->size();
    queue_.push_back(std::move(frames));
    if (queued_ > limits_.queue_bytes_max) return end();  // it resumes by id
    if (!waiting_) write();
}

void EventConnection::finish() {
    finishing_ = true;
    if (queue_.empty()) end();
}

void EventConnection::write() {
    while (!queue_.empty() && !ended_) {
        boost::container::static_vector<boost::asio::const_buffer, k_frames_per_write> buffers;
        for (const auto& frame : queue_) {
            if (buffers.size() == buffers.capacity()) break;
            const auto skip = buffers.empty() ? sent_ : 0;
            buffers.emplace_back(frame->data() + skip, frame->size() - skip);
        }
        boost::system::error_code ec;
        auto written = socket_.write_some(buffers, ec);
        if (ec == boost::asio::error::would_block) {
            waiting_ = true;
            socket_.async_wait(Socket::wait_write, [self = shared_from_this()](
                                                       const boost::system::error_code& failed) {
                self->waiting_ = false;
                if (!failed) self->write();
            });
            return;
        }
        if (ec) return end();
        last_write_ = std::chrono::steady_clock::now();
        queued_ -= written;
        written += sent_;
        std::size_t done = 0;
        while (done < queue_.size() && written >= queue_[done]->size())
            written -= queue_[done++]->size();
        queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(done));
        sent_ = written;
    }
    if (queue_.empty()) queue_.shrink_to_fit();
    if (finishing_ && !ended_) end();
}

void EventConnection::tick(base::SteadyTime now) {
    if (ended_) return;
    if (waiting_ && now - last_write_ > limits_.send_timeout) return end();
    if (!waiting_ && now - last_write_ >= limits_.heartbeat) send(heartbeat_frame());
}

void EventConnection::drain(std::chrono::milliseconds retry) {
    if (ended_) return;
    send(std::make_shared<const std::string>("retry: " + std::to_string(retry.count()) + "\n\n"));
    finish();
}

void EventConnection::cut() {
    end();
}

void EventConnection::end() {
    if (std::exchange(ended_, true)) return;
    const auto self = shared_from_this();
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_both, ignored);
    socket_.close(ignored);
    feed_->stopped();
    on_end_(self);
}

}  // namespace millrace::edge::server
