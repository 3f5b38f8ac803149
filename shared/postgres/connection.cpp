#include "shared/postgres/connection.hpp"

#include <fmt/format.h>

#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

namespace millrace::postgres {

namespace {

using Descriptor = boost::asio::posix::basic_stream_descriptor<Executor>;
using Wait = Descriptor::wait_type;

/// Waits for the socket, at most until the deadline.
Task<bool> wait_ready(Descriptor& socket, Wait what, Deadline deadline) {
    async::Timer timer(socket.get_executor(), deadline.when());
    const auto waiting = std::make_shared<bool>(true);
    timer.async_wait([&socket, waiting](const boost::system::error_code& ec) {
        if (!ec && *waiting) socket.cancel();
    });
    const auto [ec] = co_await socket.async_wait(what, async::use_result);
    *waiting = false;
    co_return !ec;
}

/// The startup option string: role, time-outs, settings (backslash quotes, as libpq reads it).
std::string startup_options(const Options& options) {
    std::string out;
    const auto add = [&out](std::string_view name, std::string_view value) {
        out += fmt::format("-c {}=", name);
        for (const char c : value) {
            if (c == ' ' || c == '\\') out += '\\';
            out += c;
        }
        out += ' ';
    };
    add("statement_timeout", std::to_string(options.statement_timeout.count()));
    add("lock_timeout", std::to_string(options.lock_timeout.count()));
    add("idle_in_transaction_session_timeout", "10000");
    add("timezone", "UTC");
    if (!options.role.empty()) add("role", options.role);
    for (const auto& [name, value] : options.settings) add(name, value);
    return out;
}

constexpr std::string_view k_not_prepared = "26000", k_prepared_already = "42P05";

void ignore_notice(void*, const PGresult*) {}

}  // namespace

Connection::Connection(Executor executor, const Options& options)
    : executor_(executor), options_(options), socket_(executor), lost_(executor) {}

Connection::~Connection() {
    if (socket_.is_open()) socket_.release();  // the file descriptor is libpq's
    PQfinish(connection_);
}

Task<Result<void>> Connection::connect(Deadline deadline) {
    const auto startup = startup_options(options_);
    const std::array<const char*, 8> keywords = {
        "dbname",           "application_name", "options",         "keepalives_idle",
        "tcp_user_timeout", "client_encoding",  "connect_timeout", nullptr};
    const std::array<const char*, 8> values = {options_.dsn.c_str(),
                                               options_.application_name.c_str(),
                                               startup.c_str(),
                                               "5",
                                               "10000",
                                               "UTF8",
                                               "5",
                                               nullptr};
    connection_ = PQconnectStartParams(keywords.data(), values.data(), 1);
    check(connection_ != nullptr, "libpq has memory");
    auto done = co_await handshake(deadline);
    if (done) co_return done;
    if (socket_.is_open()) socket_.release();
    PQfinish(std::exchange(connection_, nullptr));
    co_return done;
}

void Connection::watch_socket() {
    if (socket_.is_open()) socket_.release();
    socket_.assign(PQsocket(connection_));
}

Task<Result<void>> Connection::handshake(Deadline deadline) {
    auto wanted = PGRES_POLLING_WRITING;
    while (PQstatus(connection_) != CONNECTION_BAD && wanted != PGRES_POLLING_OK) {
        if (wanted == PGRES_POLLING_FAILED) break;
        watch_socket();  // libpq may have moved on to another address
        const auto what = wanted == PGRES_POLLING_READING ? Wait::wait_read : Wait::wait_write;
        if (!co_await wait_ready(socket_, what, deadline))
            co_return std::unexpected(broken("connecting took too long", false));
        wanted = PQconnectPoll(connection_);
    }
    if (PQstatus(connection_) != CONNECTION_OK)
        co_return std::unexpected(broken(PQerrorMessage(connection_), false));
    watch_socket();
    PQsetNoticeReceiver(connection_, ignore_notice, nullptr);
    if (PQsetnonblocking(connection_, 1) != 0 || PQenterPipelineMode(connection_) != 1) {
        co_return std::unexpected(broken(PQerrorMessage(connection_), false));
    }
    co_return Result<void>{};
}

void Connection::submit(BatchPtr batch) {
    waiting_.push_back(std::move(batch));
    if (std::exchange(pump_posted_, true)) return;
    // Whatever is submitted in this turn of the loop goes out together.
    boost::asio::post(executor_, [self = shared_from_this()] { self->pump(); });
}

void Connection::pump() {
    pump_posted_ = false;
    while (usable() && !waiting_.empty()) {
        auto batch = std::move(waiting_.front());
        waiting_.pop_front();
        if (batch->answered) continue;  // its deadline passed while it waited
        batch->sent = std::chrono::steady_clock::now();
        if (sent_.empty()) last_answer_ = batch->sent;
        sent_.push_back(batch);
        if (!send(*batch)) return close(PQerrorMessage(connection_));
    }
    if (usable() && !flush()) close(PQerrorMessage(connection_));
}

bool Connection::send(Batch& batch) {
    for (const auto& call : batch.calls) {
        const auto& values = call.params.values();
        const auto count = static_cast<int>(values.size());
        if (prepared_.emplace(call.statement, Prepared::sent).second) {
            std::vector<Oid> types;
            types.reserve(values.size());
            for (const auto& value : values) types.push_back(value.type);
            if (PQsendPrepare(connection_, call.statement->name, call.statement->sql, count,
                              types.data()) != 1)
                return false;
            batch.steps.push_back({call.statement});
        }
        std::vector<const char*> data;
        std::vector<int> sizes, formats(values.size(), 1);
        for (const auto& value : values) {
            data.push_back(value.null ? nullptr : call.params.data().data() + value.offset);
            sizes.push_back(static_cast<int>(value.size));
        }
        if (PQsendQueryPrepared(connection_, call.statement->name, count, data.data(), sizes.data(),
                                formats.data(), 1) != 1) {
            return false;
        }
        batch.steps.push_back({});
    }
    return PQpipelineSync(connection_) == 1;
}

bool Connection::flush() {
    if (flushing_) return true;
    const int left = PQflush(connection_);
    if (left < 0) return false;
    if (left > 0) {
        flushing_ = true;
        boost::asio::co_spawn(executor_, flush_later(shared_from_this()), boost::asio::detached);
    }
    return true;
}

/// The socket is full: reading goes on meanwhile, so that both sides never wait for each other.
Task<void> Connection::flush_later(std::shared_ptr<Connection> self) {
    while (usable()) {
        const auto [ec] = co_await socket_.async_wait(Wait::wait_write, async::use_result);
        if (ec || !usable()) break;
        const int left = PQflush(connection_);
        if (left < 0) close(PQerrorMessage(connection_));
        if (left <= 0) break;
    }
    flushing_ = false;
    (void)self;
}

Task<std::vector<BatchPtr>> Connection::serve() {
    while (usable()) {
        const auto [ec] = co_await socket_.async_wait(Wait::wait_read, async::use_result);
        if (!usable()) break;
        if (ec) {
            close("the connection was closed here");
            break;
        }
        if (PQconsumeInput(connection_) != 1) {
            close(PQerrorMessage(connection_));
            break;
        }
        last_answer_ = std::chrono::steady_clock::now();
        read_results();
    }
    for (auto& batch : std::exchange(sent_, {})) batch->answer(std::unexpected(broken(why_, true)));
    const auto unsent = std::exchange(waiting_, {});
    co_return std::vector<BatchPtr>(unsent.begin(), unsent.end());
}

void Connection::read_results() {
    while (usable() && !sent_.empty() && PQisBusy(connection_) == 0) {
        PGresult* result = PQgetResult(connection_);
        if (result) {
            take(result);
        } else {
            ++sent_.front()->at;  // the end of one statement's results
        }
    }
    if (sent_.empty() && usable()) {
        PGnotify* notification = nullptr;
        while ((notification = PQnotifies(connection_)) != nullptr) PQfreemem(notification);
    }
}

void Connection::take(PGresult* raw) {
    ResultPtr result(raw);
    auto& batch = *sent_.front();
    const auto* prepares = batch.at < batch.steps.size() ? batch.steps[batch.at].prepares : nullptr;
    switch (PQresultStatus(raw)) {
        case PGRES_PIPELINE_SYNC:
            return finish_batch();
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
            if (prepares) prepared_[prepares] = Prepared::confirmed;
            if (!prepares)
                batch.rows.emplace_back(std::make_shared<const Rows::Impl>(std::move(result)));
            return;
        case PGRES_PIPELINE_ABORTED:
            if (prepares) forget_unconfirmed(prepares);
            return;
        default:
            if (!batch.error) batch.error = error_of(raw);
            if (prepares && is_sqlstate(*batch.error, k_prepared_already)) {
                prepared_[prepares] = Prepared::confirmed;
            } else if (prepares) {
                forget_unconfirmed(prepares);
            }
            // What the server says as it closes the connection.
            if (PQstatus(connection_) == CONNECTION_BAD) close(PQerrorMessage(connection_));
    }
}

void Connection::forget_unconfirmed(const Statement* statement) {
    const auto found = prepared_.find(statement);
    if (found != prepared_.end() && found->second == Prepared::sent) prepared_.erase(found);
}

void Connection::finish_batch() {
    const auto batch = std::move(sent_.front());
    sent_.pop_front();
    // Prepared by a neighbour whose batch failed before its Parse: once more, with a Parse of its
    // own. Two neighbours may do so at once; the second then learns that it is prepared already.
    // Nothing of the batch was carried out, and each round confirms at least one statement.
    const bool unknown = batch->error && is_sqlstate(*batch->error, k_not_prepared);
    const bool known = batch->error && is_sqlstate(*batch->error, k_prepared_already);
    if ((unknown || known) && batch->retries <= 2 * batch->calls.size()) {
        if (unknown) {
            for (const auto& call : batch->calls) forget_unconfirmed(call.statement);
        }
        ++batch->retries;
        batch->error.reset();
        batch->steps.clear();
        batch->rows.clear();
        batch->at = 0;
        return submit(batch);
    }
    if (batch->error) return batch->answer(std::unexpected(std::move(*batch->error)));
    batch->answer(std::move(batch->rows));
}

void Connection::close(std::string_view why) {
    if (std::exchange(broken_, true)) return;
    why_ = why;
    while (!why_.empty() && why_.back() == '\n') why_.pop_back();
    if (socket_.is_open()) socket_.cancel();
    lost_.set();
}

void Connection::expire(std::chrono::milliseconds silence_max) {
    const auto now = std::chrono::steady_clock::now();
    for (auto& batch : waiting_) {
        if (batch->deadline.when() <= now) batch->answer(std::unexpected(late(false)));
    }
    for (auto& batch : sent_) {
        if (batch->deadline.when() <= now)
            batch->answer(std::unexpected(late(true)));  // its results are read and dropped
    }
    if (!sent_.empty() && now - std::max(last_answer_, sent_.front()->sent) > silence_max)
        close("the server has stopped answering");
}

Task<Result<void>> Connection::script(const std::string& sql, Deadline deadline) {
    if (PQexitPipelineMode(connection_) != 1 || PQsendQuery(connection_, sql.c_str()) != 1) {
        co_return std::unexpected(broken(PQerrorMessage(connection_), false));
    }
    std::optional<Error> failed;
    for (;;) {
        while (PQflush(connection_) > 0) {
            if (!co_await wait_ready(socket_, Wait::wait_write, deadline))
                co_return std::unexpected(late(true));
        }
        while (PQisBusy(connection_) != 0) {
            if (!co_await wait_ready(socket_, Wait::wait_read, deadline))
                co_return std::unexpected(late(true));
            if (PQconsumeInput(connection_) != 1)
                co_return std::unexpected(broken(PQerrorMessage(connection_), true));
        }
        const ResultPtr result(PQgetResult(connection_));
        if (!result) break;
        if (PQresultStatus(result.get()) == PGRES_FATAL_ERROR && !failed)
            failed = error_of(result.get());
    }
    if (failed) co_return std::unexpected(std::move(*failed));
    co_return Result<void>{};
}

}  // namespace millrace::postgres
