// Requests and answers, closed or open loop.

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <string_view>
#include <utility>

#include "tests/bench/histogram.hpp"
#include "tests/bench/load.hpp"

namespace millrace::bench {

namespace {

constexpr std::size_t k_buffer = 16 * 1024;

struct Connection {
    int fd = -1;
    std::uint64_t due = 0;  ///< when the request in flight was due, 0: none in flight
    std::size_t have = 0;   ///< bytes of the answer so far
    std::size_t want = 0;   ///< bytes of the whole answer, 0: its head is not complete
    int status = 0;
    bool close = false;  ///< the server ends the connection after this answer
    std::vector<char> buffer = std::vector<char>(k_buffer);
};

class Requests {
 public:
    explicit Requests(const LoadOptions& options)
        : options_(options), text_(request_text(options)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        prctl(PR_SET_TIMERSLACK, 1UL);
        std::random_device random;
        for (auto& c : key_prefix_) c = "0123456789abcdef"[random() % 16];
        connections_.resize(options.connections);
        for (auto& connection : connections_) open(connection);
    }

    void run() {
        const auto cpu_before = cpu_us();
        began_ = now_ns();
        last_answer_ = began_;
        ends_ = began_ + static_cast<std::uint64_t>(options_.seconds * 1e9);
        const auto given_up = ends_ + static_cast<std::uint64_t>(options_.drain * 1e9);
        for (auto& connection : connections_) release(connection);
        std::array<epoll_event, 256> ready{};
        while (in_flight_ > 0 || more(now_ns())) {
            if (options_.count == 0 && now_ns() > given_up) break;
            const auto timeout = wait_time();
            const int n = epoll_pwait2(epoll_, ready.data(), ready.size(), &timeout, nullptr);
            for (int i = 0; i < n; ++i)
                take(*static_cast<Connection*>(ready[static_cast<std::size_t>(i)].data.ptr));
            if (options_.rate > 0) dispatch();
        }
        report(cpu_us() - cpu_before);
    }

 private:
    void open(Connection& connection) {
        connection.fd = connect_socket(options_);
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &connection}};
        epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
    }

    [[nodiscard]] bool more(std::uint64_t now) const {
        if (options_.count > 0) return sent_ < options_.count;
        return options_.rate > 0 ? due_at(sent_) < ends_ : now < ends_;
    }
    [[nodiscard]] std::uint64_t due_at(std::uint64_t n) const {
        return began_ + static_cast<std::uint64_t>(static_cast<double>(n) * 1e9 / options_.rate);
    }

    [[nodiscard]] timespec wait_time() const {
        std::uint64_t ns = 100'000'000;
        if (options_.rate > 0 && !idle_.empty() && more(0)) {
            const auto due = due_at(sent_), now = now_ns();
            ns = due > now ? std::min(ns, due - now) : 0;
        }
        return {.tv_sec = 0, .tv_nsec = static_cast<long>(ns)};
    }

    /// Sends what is due, as long as a connection is free; what waits for one has its latency
    /// counted all the same.
    void dispatch() {
        const auto now = now_ns();
        while (!idle_.empty() && more(now) && due_at(sent_) <= now) {
            auto& connection = *idle_.back();
            idle_.pop_back();
            send(connection, due_at(sent_));
        }
    }

    void release(Connection& connection) {
        if (options_.rate > 0) {
            idle_.push_back(&connection);
            return;
        }
        const auto now = now_ns();
        if (more(now)) send(connection, now);
    }

    void send(Connection& connection, std::uint64_t due) {
        if (options_.key) {
            auto* at = text_.bytes.data() + text_.key_at;
            std::memcpy(at, key_prefix_.data(), key_prefix_.size());
            fmt::format_to_n(at + key_prefix_.size(), 16, "{:016x}", sent_);
        }
        ++sent_;
        ++in_flight_;
        connection.due = due;
        const auto written = write(connection.fd, text_.bytes.data(), text_.bytes.size());
        // A request is far smaller than a socket's buffer, and one is in flight at most.
        if (written != static_cast<ssize_t>(text_.bytes.size())) lost(connection);
    }

    void take(Connection& connection) {
        const auto got = read(connection.fd, connection.buffer.data() + connection.have,
                              connection.buffer.size() - connection.have);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) return lost(connection);
        connection.have += static_cast<std::size_t>(got);
        if (connection.want == 0 && !read_head(connection)) return;
        if (connection.have < connection.want) return;
        answered(connection);
    }

    /// False while the head is not complete.
    bool read_head(Connection& connection) {
        const std::string_view text(connection.buffer.data(), connection.have);
        const auto end = text.find("\r\n\r\n");
        if (end == std::string_view::npos) return false;
        connection.status = std::atoi(text.data() + 9);
        std::size_t length = 0;
        connection.close = false;
        for (std::size_t at = text.find("\r\n") + 2; at < end; at = text.find("\r\n", at) + 2) {
            const char* line = text.data() + at;
            if ((*line | 0x20) == 'c') {
                if (strncasecmp(line, "content-length:", 15) == 0)
                    length = std::strtoull(line + 15, nullptr, 10);
                if (strncasecmp(line, "connection: close", 17) == 0) connection.close = true;
            } else if (strncasecmp(line, "transfer-encoding:", 18) == 0) {
                die("this generator reads no chunked answers");
            }
        }
        connection.want = end + 4 + length;
        if (connection.want > connection.buffer.size()) connection.buffer.resize(connection.want);
        return true;
    }

    void answered(Connection& connection) {
        last_answer_ = now_ns();
        latency_.add(last_answer_ - connection.due);
        ++statuses_[connection.status];
        bytes_ += connection.want;
        if (connection.status >= 400 && first_refusal_.empty())
            first_refusal_.assign(connection.buffer.data(), connection.want);
        --in_flight_;
        connection.have = connection.want = connection.due = 0;
        if (connection.close) {
            close(connection.fd);
            open(connection);
        }
        release(connection);
    }

    /// The server closed it. Without a request in flight that is its right.
    void lost(Connection& connection) {
        close(connection.fd);
        open(connection);
        connection.have = connection.want = 0;
        if (std::exchange(connection.due, 0) == 0) return;
        ++lost_;
        --in_flight_;
        release(connection);
    }

    void report(double cpu) const {
        const double seconds = static_cast<double>(last_answer_ - began_) / 1e9;
        const auto answers = latency_.total();
        const auto us = [this](double q) {
            return static_cast<double>(latency_.quantile(q)) / 1000;
        };
        std::string statuses;
        for (const auto& [status, n] : statuses_)
            statuses += fmt::format("{}\"{}\":{}", statuses.empty() ? "" : ",", status, n);
        fmt::print(
            R"({{"requests":{},"answers":{},"lost":{},"unanswered":{},"seconds":{:.4f},)"
            R"("per_second":{:.1f},"statuses":{{{}}},"bytes":{},"cpu_us":{:.0f},)"
            R"("cpu_us_per_request":{:.2f},"latency_us":{{"p50":{:.1f},"p90":{:.1f},"p99":{:.1f},)"
            R"("p99.9":{:.1f},"max":{:.1f}}}}})"
            "\n",
            sent_, answers, lost_, in_flight_, seconds, static_cast<double>(answers) / seconds,
            statuses, bytes_, cpu, answers > 0 ? cpu / static_cast<double>(answers) : 0, us(0.5),
            us(0.9), us(0.99), us(0.999), static_cast<double>(latency_.max()) / 1000);
        if (!first_refusal_.empty()) fmt::print(stderr, "first refusal:\n{}\n", first_refusal_);
    }

    const LoadOptions& options_;
    RequestText text_;
    int epoll_;
    std::array<char, 16> key_prefix_{};
    std::vector<Connection> connections_;
    std::vector<Connection*> idle_;
    Histogram latency_;
    std::map<int, std::uint64_t> statuses_;
    std::string first_refusal_;
    std::uint64_t began_ = 0, ends_ = 0, last_answer_ = 0;
    std::uint64_t sent_ = 0, in_flight_ = 0, lost_ = 0, bytes_ = 0;
};

}  // namespace

void run_requests(const LoadOptions& options) {
    Requests(options).run();
}

}  // namespace millrace::bench
