#pragma once
// librdkafka calls that block, off the io thread.

#include <chrono>
#include <functional>
#include <memory>

namespace millrace::kafka {

/// Each job gets a thread of its own: they are rare (destroying an instance, asking for metadata).
/// The destructor waits for them up to `patience`, then leaves them behind: a library that hangs
/// must not keep the process from ending.
class Background {
 public:
    explicit Background(std::chrono::milliseconds patience);
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background();

    /// `job` must own all it touches, and not throw.
    void run(std::move_only_function<void()> job);

 private:
    struct State;
    std::shared_ptr<State> state_;
    std::chrono::milliseconds patience_;
};

}  // namespace millrace::kafka
