// The one translation unit that compiles Asio (BOOST_ASIO_SEPARATE_COMPILATION).
#include <boost/asio/impl/src.hpp>

#include "shared/async/task.hpp"

namespace millrace::async {

Task<void> delay(Executor executor, std::chrono::nanoseconds span) {
    Timer timer(executor, std::chrono::duration_cast<Timer::duration>(span));
    co_await timer.async_wait(use_task);
}

}  // namespace millrace::async
