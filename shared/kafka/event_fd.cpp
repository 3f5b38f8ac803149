#include "shared/kafka/event_fd.hpp"

#include <librdkafka/rdkafka.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

namespace millrace::kafka {

namespace {

constexpr std::uint64_t k_one = 1;

int open_eventfd() {
    const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    return fd;
}

}  // namespace

// Shared with the read in progress, which may complete after the EventFd is gone.
struct EventFd::State {
    State(const Executor& executor, std::function<void()> ready)
        : descriptor(executor, open_eventfd()), on_ready(std::move(ready)) {}

    asio::posix::basic_stream_descriptor<Executor> descriptor;
    std::function<void()> on_ready;
    std::array<unsigned char, sizeof(std::uint64_t)> counter{};
};

EventFd::EventFd(const Executor& executor, std::function<void()> on_ready)
    : state_(std::make_shared<State>(executor, std::move(on_ready))) {
    arm(state_);
}

EventFd::~EventFd() {
    state_->on_ready = nullptr;
    boost::system::error_code ignored;
    state_->descriptor.close(ignored);
}

void EventFd::watch(rd_kafka_queue_t* queue) {
    rd_kafka_queue_io_event_enable(queue, state_->descriptor.native_handle(), &k_one, sizeof k_one);
    // What landed there before woke nobody, and while it lies there nothing after it will.
    [[maybe_unused]] const auto written =
        ::write(state_->descriptor.native_handle(), &k_one, sizeof k_one);
}

void EventFd::unwatch(rd_kafka_queue_t* queue) {
    rd_kafka_queue_io_event_enable(queue, -1, nullptr, 0);
}

void EventFd::arm(const std::shared_ptr<State>& state) {
    state->descriptor.async_read_some(
        asio::buffer(state->counter),
        [state](const boost::system::error_code& failed, std::size_t) {
            if (failed || !state->on_ready) return;
            state->on_ready();
            if (state->on_ready) arm(state);
        });
}

}  // namespace millrace::kafka
