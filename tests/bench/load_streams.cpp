// Event streams that are opened, held, and timed when an event goes out to all.

#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "tests/bench/load.hpp"

namespace millrace::bench {

namespace {

struct Stream {
    int fd = -1;
    bool open = false;  ///< the head of its answer is in
};

/// One event on its way to all streams.
struct Round {
    std::string id;
    std::size_t received = 0;
    std::uint64_t first = 0, last = 0;
};

class Streams {
 public:
    explicit Streams(const LoadOptions& options)
        : options_(options),
          text_(request_text(options)),
          epoll_(epoll_create1(EPOLL_CLOEXEC)),
          streams_(options.events) {
        epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
        epoll_ctl(epoll_, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    }

    void run() {
        std::array<epoll_event, 512> ready{};
        while (!ended_) {
            // A few at a time, so that no listen queue overflows.
            while (started_ < streams_.size() && started_ - opened_ < 64) start(streams_[started_]);
            const int n = epoll_wait(epoll_, ready.data(), ready.size(), -1);
            const auto now = now_ns();
            for (int i = 0; i < n; ++i) {
                auto* stream = static_cast<Stream*>(ready[static_cast<std::size_t>(i)].data.ptr);
                stream == nullptr ? obey() : take(*stream, now);
            }
        }
    }

 private:
    void start(Stream& stream) {
        ++started_;
        stream.fd = connect_socket(options_);
        if (write(stream.fd, text_.bytes.data(), text_.bytes.size()) < 0) die("no request sent");
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &stream}};
        epoll_ctl(epoll_, EPOLL_CTL_ADD, stream.fd, &event);
    }

    void take(Stream& stream, std::uint64_t now) {
        std::array<char, 16 * 1024> buffer;
        const auto got = read(stream.fd, buffer.data(), buffer.size());
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) {
            close(stream.fd);
            ++closed_;
            return;
        }
        const std::string_view text(buffer.data(), static_cast<std::size_t>(got));
        if (!stream.open) {
            if (!text.starts_with("HTTP/1.1 200")) die("no stream: " + std::string(text));
            stream.open = true;
            if (++opened_ == streams_.size()) say(fmt::format(R"({{"opened":{}}})", opened_));
            return;
        }
        if (armed_) count(text, now);
    }

    /// Events are known by their id; a heartbeat has none. They are small, so that none comes in
    /// pieces.
    void count(std::string_view text, std::uint64_t now) {
        constexpr std::string_view mark = "id: ";
        for (auto at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at)) {
            at += mark.size();
            const auto id = text.substr(at, text.find('\n', at) - at);
            auto round = std::ranges::find(rounds_, id, &Round::id);
            if (round == rounds_.end())
                round = rounds_.insert(round, {.id = std::string(id), .first = now});
            ++round->received;
            round->last = now;
        }
    }

    void obey() {
        std::array<char, 256> buffer;
        const auto got = read(STDIN_FILENO, buffer.data(), buffer.size());
        if (got <= 0) {
            ended_ = true;
            return;
        }
        const std::string_view line(buffer.data(), static_cast<std::size_t>(got));
        if (line.starts_with("arm")) {
            armed_ = true;
            say(R"({"armed":true})");
        } else if (line.starts_with("report")) {
            std::string rounds;
            for (const auto& round : rounds_) {
                rounds += fmt::format(R"({}{{"id":"{}","received":{},"first_to_last_us":{:.1f}}})",
                                      rounds.empty() ? "" : ",", round.id, round.received,
                                      static_cast<double>(round.last - round.first) / 1000);
            }
            say(fmt::format(R"({{"rounds":[{}],"closed":{},"cpu_us":{:.0f}}})", rounds, closed_,
                            cpu_us()));
        }
    }

    static void say(const std::string& line) {
        fmt::print("{}\n", line);
        std::fflush(stdout);
    }

    const LoadOptions& options_;
    RequestText text_;
    int epoll_;
    std::vector<Stream> streams_;
    std::vector<Round> rounds_;
    std::size_t started_ = 0, opened_ = 0, closed_ = 0;
    bool armed_ = false, ended_ = false;
};

}  // namespace

void run_streams(const LoadOptions& options) {
    Streams(options).run();
}

}  // namespace millrace::bench
