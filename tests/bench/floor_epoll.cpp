// floor_epoll: what a socket server can do at most on this machine. One thread, raw epoll; any
// bytes that come in are answered with one fixed answer.
//   floor_epoll                   an answer of 160 bytes, connection kept
//   floor_epoll --events BYTES MS  the head of an event stream; then every MS milliseconds one
//   event
//                                  of BYTES bytes to everybody, in a plain loop of write()
// Prints its port.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

/// 160 bytes, as many as a small answer has.
std::string fixed_answer() {
    return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 74\r\n"
           "Server: floor\r\n\r\n" +
           std::string(74, 'x');
}

std::string event_of(std::size_t bytes, int number) {
    std::string event = "id: " + std::to_string(number) + "\nevent: delta\ndata: ";
    event += std::string(bytes > event.size() + 2 ? bytes - event.size() - 2 : 1, 'x');
    return event + "\n\n";
}

int listen_somewhere() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 4096) != 0) {
        std::perror("listen");
        std::exit(1);
    }
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    return fd;
}

int every(int milliseconds) {
    const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    const timespec pace{.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1'000'000L};
    const itimerspec when{.it_interval = pace, .it_value = pace};
    timerfd_settime(fd, 0, &when, nullptr);
    return fd;
}

}  // namespace

int main(int argc, char** argv) {
    const bool streams = argc == 4 && std::strcmp(argv[1], "--events") == 0;
    if (argc != 1 && !streams) {
        std::fprintf(stderr, "usage: floor_epoll [--events BYTES MS]\n");
        return 2;
    }
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    const std::string answer =
        streams ? "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" : fixed_answer();
    const std::size_t event_bytes = streams ? std::strtoul(argv[2], nullptr, 10) : 0;
    int events = 0;
    const int listener = listen_somewhere();
    const int timer = streams ? every(std::atoi(argv[3])) : -1;
    const int epoll = epoll_create1(0);
    const auto watch = [epoll](int fd) {
        epoll_event interest{.events = EPOLLIN, .data = {.fd = fd}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest);
    };
    watch(listener);
    if (streams) watch(timer);

    std::vector<int> clients;
    std::array<epoll_event, 256> ready{};
    std::array<char, 4096> buffer{};
    for (;;) {
        const int n = epoll_wait(epoll, ready.data(), ready.size(), -1);
        for (int i = 0; i < n; ++i) {
            const int fd = ready[static_cast<std::size_t>(i)].data.fd;
            if (fd == listener) {
                for (int client;
                     (client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
                    const int one = 1;
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    watch(client);
                    if (streams) clients.push_back(client);
                }
            } else if (fd == timer) {
                [[maybe_unused]] auto ticks = read(timer, buffer.data(), 8);
                const auto event = event_of(event_bytes, ++events);
                for (const int client : clients) [[maybe_unused]]
                    auto sent = write(client, event.data(), event.size());
            } else if (const auto got = read(fd, buffer.data(), buffer.size()); got > 0) {
                [[maybe_unused]] auto sent = write(fd, answer.data(), answer.size());
            } else if (got == 0) {
                close(fd);
                std::erase(clients, fd);
            }
        }
    }
}
