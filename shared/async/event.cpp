#include "shared/async/event.hpp"

#include <algorithm>

namespace millrace::async {

void Event::set() {
    set_ = true;
    notify_all();
}

void Event::notify_all() {
    for (auto* timer : waiters_)
        timer->expires_at(Timer::time_point::min());  // wakes, and stays woken
}

Task<bool> Event::wait(Deadline deadline) {
    if (set_) co_return true;
    Timer timer(executor_, deadline.when());
    struct Entry {
        std::vector<Timer*>& list;
        Timer* self;
        Entry(std::vector<Timer*>& l, Timer* s) : list(l), self(s) { list.push_back(s); }
        Entry(const Entry&) = delete;
        Entry& operator=(const Entry&) = delete;
        ~Entry() { std::erase(list, self); }
    };
    const Entry entry(waiters_, &timer);
    co_await timer.async_wait(use_result);
    co_return timer.expiry() == Timer::time_point::min();
}

}  // namespace millrace::async
