#pragma once
// One libpq connection in pipeline mode: submitted batches go out in order, answers come back in
// order, one Sync each.

#include <libpq-fe.h>

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

#include "shared/async/event.hpp"
#include "shared/async/one_shot.hpp"
#include "shared/postgres/result.hpp"

namespace millrace::postgres {

using BatchResult = Result<std::vector<Rows>>;

/// Statements of one implicit transaction, and whoever waits for them.
struct Batch {
    Batch(Executor executor, std::vector<Call> c, Deadline d)
        : calls(std::move(c)), deadline(d), done(std::move(executor)) {}

    std::vector<Call> calls;
    Deadline deadline;
    async::OneShot<BatchResult> done;
    bool answered = false;

    // Filled while its results come in.
    struct Step {
        const Statement* prepares =
            nullptr;  ///< set: this result is of the Parse of that statement
    };
    std::vector<Step> steps;
    std::size_t at = 0;  ///< step whose results come next
    std::vector<Rows> rows;
    std::optional<Error> error;
    base::SteadyTime sent{};
    std::size_t retries = 0;

    void answer(BatchResult result) {
        if (std::exchange(answered, true)) return;
        done.set(std::move(result));
    }
};
using BatchPtr = std::shared_ptr<Batch>;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
    Connection(Executor executor, const Options& options);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// Connects and enters pipeline mode; the Error's log says what the server said.
    Task<Result<void>> connect(Deadline deadline);
    /// Reads answers until the connection breaks or close() is called; then answers what was sent
    /// as ambiguous, and returns those batches that were never sent.
    Task<std::vector<BatchPtr>> serve();

    void submit(BatchPtr batch);
    /// Several statements by the simple protocol; only on a connection without anything in flight,
    /// outside of serve().
    Task<Result<void>> script(const std::string& sql, Deadline deadline);

    [[nodiscard]] bool usable() const noexcept { return connection_ != nullptr && !broken_; }
    [[nodiscard]] std::size_t in_flight() const noexcept { return sent_.size() + waiting_.size(); }
    [[nodiscard]] const std::string& why_broken() const noexcept { return why_; }
    async::Event& lost() noexcept { return lost_; }
    void close(std::string_view why);
    /// Answers batches whose deadline has passed; breaks a connection that has stopped answering.
    void expire(std::chrono::milliseconds silence_max);

 private:
    Task<Result<void>> handshake(Deadline deadline);
    void pump();
    bool send(Batch& batch);
    bool flush();
    Task<void> flush_later(std::shared_ptr<Connection> self);
    void read_results();
    void take(PGresult* result);
    void finish_batch();
    void watch_socket();

    Executor executor_;
    const Options& options_;
    PGconn* connection_ = nullptr;
    boost::asio::posix::basic_stream_descriptor<Executor> socket_;
    std::deque<BatchPtr> waiting_, sent_;
    void forget_unconfirmed(const Statement* statement);

    enum class Prepared : std::uint8_t { sent, confirmed };
    std::unordered_map<const Statement*, Prepared> prepared_;
    bool pump_posted_ = false, flushing_ = false, broken_ = false;
    std::string why_;
    base::SteadyTime last_answer_{};
    async::Event lost_;
};

}  // namespace millrace::postgres
