#pragma once
// Wake-ups from librdkafka's threads into the io_context.

#include <functional>
#include <memory>

#include "shared/async/task.hpp"

typedef struct rd_kafka_queue_s rd_kafka_queue_t;

namespace millrace::kafka {

/// An eventfd that librdkafka writes to when something lands on an empty queue, once until the
/// queue is polled again. So whoever is woken polls until the queue is empty. `on_ready` runs on
/// the io thread, never after destruction. Destroy it after the queues were unwatched: a librdkafka
/// thread must not write to a descriptor that is gone.
class EventFd {
 public:
    EventFd(const Executor& executor, std::function<void()> on_ready);
    EventFd(const EventFd&) = delete;
    EventFd& operator=(const EventFd&) = delete;
    ~EventFd();

    void watch(rd_kafka_queue_t* queue);
    static void unwatch(rd_kafka_queue_t* queue);

 private:
    struct State;
    static void arm(const std::shared_ptr<State>& state);
    std::shared_ptr<State> state_;
};

}  // namespace millrace::kafka
