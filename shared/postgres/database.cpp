#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <deque>

#include "shared/async/task_group.hpp"
#include "shared/base/crypto.hpp"
#include "shared/postgres/connection.hpp"

namespace millrace::postgres {

namespace {

constexpr auto k_backoff_first = std::chrono::milliseconds(50);
constexpr auto k_backoff_max = std::chrono::milliseconds(2000);
constexpr auto k_connect_timeout = std::chrono::seconds(5);
constexpr auto k_tick = std::chrono::milliseconds(25);
constexpr auto k_silence_beyond = std::chrono::seconds(2);

const Statement k_begin{"tx_begin", "BEGIN"};
const Statement k_commit{"tx_commit", "COMMIT"};
const Statement k_set_tenant{"set_tenant", "SELECT set_config('app.tenant', $1, true)"};
const Statement k_set_tenant_asynchronous{
    "set_tenant_asynchronous",
    "SELECT set_config('app.tenant', $1, true), set_config('synchronous_commit', 'off', true)"};
const Statement k_try_lock{"try_lock", "SELECT pg_try_advisory_lock($1)"};

using ConnectionPtr = std::shared_ptr<Connection>;

class PooledDatabase;

/// A connection that only its holder uses; it is closed with its holder, which rolls back and
/// unlocks on the server.
class Session {
 public:
    Session(PooledDatabase& owner, ConnectionPtr connection);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    Task<Result<Rows>> run(Call call, Deadline deadline);
    [[nodiscard]] Connection& connection() const noexcept { return *connection_; }

 private:
    PooledDatabase& owner_;
    ConnectionPtr connection_;
};

class SessionTransaction final : public Transaction {
 public:
    explicit SessionTransaction(std::unique_ptr<Session> session) : session_(std::move(session)) {}
    Task<Result<Rows>> run(Call call, Deadline deadline) override {
        auto rows = co_await session_->run(std::move(call), deadline);
        if (!rows && !failed_) failed_ = rows.error();
        co_return rows;
    }
    Task<Result<void>> commit(Deadline deadline) override {
        if (failed_)
            co_return std::unexpected(
                *failed_);  // the server would say ROLLBACK, and call that a success
        CO_TRY_VOID(co_await session_->run({&k_commit, {}}, deadline));
        co_return Result<void>{};
    }

 private:
    std::unique_ptr<Session> session_;
    std::optional<Error> failed_;
};

class SessionLock final : public Lock {
 public:
    explicit SessionLock(std::unique_ptr<Session> session) : session_(std::move(session)) {}
    [[nodiscard]] bool held() const override { return session_->connection().usable(); }
    Task<void> lost() override {
        while (held())
            co_await session_->connection().lost().wait(Deadline::at(base::SteadyTime::max()));
    }

 private:
    std::unique_ptr<Session> session_;
};

class PooledDatabase final : public Database {
 public:
    PooledDatabase(Executor executor, Options options)
        : executor_(executor),
          options_(std::move(options)),
          tasks_(executor,
                 [this](const std::string& name, const std::string& what) {
                     report(fmt::format("{} died: {}", name, what));
                 }),
          connected_(executor),
          busy_(executor),
          room_(executor) {
        for (int i = 0; i < options_.connections; ++i)
            tasks_.spawn("postgres connection", keep_connected());
        tasks_.spawn("postgres deadlines", expire());
    }

    Task<Result<Rows>> run(Call call, Deadline deadline) override {
        std::vector<Call> calls;
        calls.push_back(std::move(call));
        CO_TRY(auto rows, co_await transaction(std::move(calls), deadline));
        co_return std::move(rows.front());
    }

    Task<BatchResult> transaction(std::vector<Call> calls, Deadline deadline) override {
        auto batch = std::make_shared<Batch>(executor_, std::move(calls), deadline);
        dispatch(batch);
        co_return co_await batch->done.wait();
    }

    Task<Result<std::unique_ptr<Transaction>>> begin(Deadline deadline) override {
        CO_TRY(auto session, co_await open_session(deadline));
        CO_TRY_VOID(co_await session->run({&k_begin, {}}, deadline));
        co_return std::make_unique<SessionTransaction>(std::move(session));
    }

    Task<Result<std::unique_ptr<Lock>>> try_lock(std::int64_t key, Deadline deadline) override {
        CO_TRY(auto session, co_await open_session(deadline));
        CO_TRY(const auto rows, co_await session->run(call(k_try_lock, key), deadline));
        if (!rows[0].get<bool>(0)) co_return std::unique_ptr<Lock>();
        co_return std::make_unique<SessionLock>(std::move(session));
    }

    Task<Result<void>> script(std::string sql, Deadline deadline) override {
        Connection connection(executor_, options_);
        CO_TRY_VOID(co_await connection.connect(deadline));
        co_return co_await connection.script(sql, deadline);
    }

    [[nodiscard]] bool connected() const override {
        return std::ranges::any_of(shared_, [](const auto& c) { return c->usable(); });
    }

    Task<Result<void>> wait_connected(Deadline deadline) override {
        while (!connected()) {
            if (!co_await connected_.wait(deadline))
                co_return std::unexpected(broken(last_error_, false));
        }
        co_return Result<void>{};
    }

    Task<void> close() override {
        closing_ = true;
        for (auto& batch : std::exchange(waiting_, {}))
            batch->answer(std::unexpected(broken("closing", false)));
        for (const auto& connection : shared_) connection->close("closing");
        for (const auto& connection : exclusive_) connection->close("closing");
        tasks_.cancel();
        co_await tasks_.join(Deadline::in(std::chrono::seconds(2)));
    }

    void forget(const ConnectionPtr& connection) {
        connection->close("released");
        std::erase(exclusive_, connection);
        room_.notify_all();
    }

    void tell_busy() {
        if (!busy_.is_set()) busy_.set();
    }

    [[nodiscard]] Executor executor() const { return executor_; }

 private:
    void report(std::string what) {
        if (options_.on_event) options_.on_event(std::move(what));
    }

    void dispatch(const BatchPtr& batch) {
        const ConnectionPtr* best = nullptr;
        for (const auto& connection : shared_) {
            if (connection->usable() && (!best || connection->in_flight() < (*best)->in_flight()))
                best = &connection;
        }
        if (closing_) return batch->answer(std::unexpected(broken("closing", false)));
        if (best) {
            (*best)->submit(batch);
        } else if (waiting_.size() >= options_.waiting_max) {
            return batch->answer(
                std::unexpected(broken("too many calls wait for a connection", false)));
        } else {
            waiting_.push_back(batch);
        }
        tell_busy();
    }

    Task<void> keep_connected() {
        for (auto pause = k_backoff_first; !closing_;) {
            auto connection = std::make_shared<Connection>(executor_, options_);
            const auto made = co_await connection->connect(Deadline::in(k_connect_timeout));
            if (!made) {
                last_error_ = made.error().log;
                report(fmt::format("cannot connect: {}", last_error_));
                const auto jitter = std::chrono::milliseconds(base::random_u32() % 50);
                co_await async::delay(executor_, pause + jitter);
                pause = std::min(pause * 2, std::chrono::milliseconds(k_backoff_max));
                continue;
            }
            pause = k_backoff_first;
            shared_.push_back(connection);
            connected_.notify_all();
            for (auto& batch : std::exchange(waiting_, {})) dispatch(batch);
            auto unsent = co_await connection->serve();
            std::erase(shared_, connection);
            if (!closing_) report(fmt::format("connection lost: {}", connection->why_broken()));
            for (auto& batch : unsent) dispatch(batch);
        }
    }

    Task<Result<std::unique_ptr<Session>>> open_session(Deadline deadline) {
        while (exclusive_.size() >= static_cast<std::size_t>(options_.exclusive_connections)) {
            if (!co_await room_.wait(deadline)) co_return std::unexpected(late(false));
        }
        auto connection = std::make_shared<Connection>(executor_, options_);
        exclusive_.push_back(connection);
        auto session = std::make_unique<Session>(*this, connection);
        CO_TRY_VOID(co_await connection->connect(deadline));
        tasks_.spawn("postgres session", serve_session(connection));
        co_return session;
    }

    static Task<void> serve_session(ConnectionPtr connection) {
        for (auto& batch : co_await connection->serve())
            batch->answer(std::unexpected(broken(connection->why_broken(), false)));
    }

    /// Deadlines are looked at only while something is under way.
    Task<void> expire() {
        const auto silence = options_.statement_timeout + k_silence_beyond;
        for (;;) {
            co_await busy_.wait(Deadline::at(base::SteadyTime::max()));
            co_await async::delay(executor_, k_tick);
            const auto now = std::chrono::steady_clock::now();
            for (auto& batch : waiting_) {
                if (batch->deadline.when() <= now)
                    batch->answer(std::unexpected(broken(last_error_, false)));
            }
            std::erase_if(waiting_, [](const BatchPtr& batch) { return batch->answered; });
            bool busy = !waiting_.empty();
            for (const auto* list : {&shared_, &exclusive_}) {
                for (const auto& connection : std::vector<ConnectionPtr>(*list)) {
                    connection->expire(silence);
                    busy |= connection->in_flight() > 0;
                }
            }
            if (!busy) busy_.reset();
        }
    }

    Executor executor_;
    Options options_;
    async::TaskGroup tasks_;
    std::vector<ConnectionPtr> shared_, exclusive_;
    std::deque<BatchPtr> waiting_;
    std::string last_error_ = "not connected yet";
    async::Event connected_, busy_, room_;
    bool closing_ = false;
};

Session::Session(PooledDatabase& owner, ConnectionPtr connection)
    : owner_(owner), connection_(std::move(connection)) {}

Session::~Session() {
    owner_.forget(connection_);
}

Task<Result<Rows>> Session::run(Call call, Deadline deadline) {
    if (!connection_->usable()) co_return std::unexpected(broken(connection_->why_broken(), false));
    std::vector<Call> calls;
    calls.push_back(std::move(call));
    auto batch = std::make_shared<Batch>(owner_.executor(), std::move(calls), deadline);
    connection_->submit(batch);
    owner_.tell_busy();
    CO_TRY(auto rows, co_await batch->done.wait());
    co_return std::move(rows.front());
}

}  // namespace

std::unique_ptr<Database> make_database(Executor executor, Options options) {
    return std::make_unique<PooledDatabase>(std::move(executor), std::move(options));
}

Call set_tenant(base::TenantId tenant) {
    return call(k_set_tenant, tenant.str());
}

Task<Result<Rows>> in_tenant(Database& app, base::TenantId tenant, Call call, Deadline deadline,
                             Commit commit) {
    std::vector<Call> calls;
    const auto& first = commit == Commit::durable ? k_set_tenant : k_set_tenant_asynchronous;
    calls.push_back(postgres::call(first, tenant.str()));
    calls.push_back(std::move(call));
    CO_TRY(auto results, co_await app.transaction(std::move(calls), deadline));
    co_return std::move(results[1]);
}

}  // namespace millrace::postgres
