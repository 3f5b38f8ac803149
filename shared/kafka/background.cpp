#include "shared/kafka/background.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace millrace::kafka {

struct Background::State {
    std::mutex mutex;
    std::condition_variable idle;
    int running = 0;
};

Background::Background(std::chrono::milliseconds patience)
    : state_(std::make_shared<State>()), patience_(patience) {}

Background::~Background() {
    std::unique_lock lock(state_->mutex);
    state_->idle.wait_for(lock, patience_, [this] { return state_->running == 0; });
}

void Background::run(std::move_only_function<void()> job) {
    {
        const std::lock_guard lock(state_->mutex);
        ++state_->running;
    }
    std::thread([state = state_, job = std::move(job)]() mutable {
        job();
        job = nullptr;  // what it owned goes before the count does
        const std::lock_guard lock(state->mutex);
        if (--state->running == 0) state->idle.notify_all();
    }).detach();
}

}  // namespace millrace::kafka
