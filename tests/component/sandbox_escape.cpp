// Tries one forbidden thing and prints what came of it: "ok", or the name of the error. Runs inside
// the sandbox.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

int report(bool worked) {
    std::puts(worked ? "ok" : strerrorname_np(errno));
    return 0;
}

int open_for(const char* path, int flags) {
    const int fd = ::open(path, flags, 0644);
    return report(fd >= 0 && ((flags & O_WRONLY) == 0 || ::write(fd, "x", 1) == 1));
}

int connect_home() {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(22);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return report(fd >= 0 && ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
}

int allocate() {  // 4 GiB, touched
    std::vector<void*> blocks;
    for (int i = 0; i < 64; ++i) {
        void* block = ::mmap(nullptr, 64 << 20, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (block == MAP_FAILED) return report(false);
        blocks.push_back(block);
    }
    return report(true);
}

int loop() {
    for (volatile unsigned turn = 0;; turn = turn + 1) {
    }
}

int print(int fd) {  // 100 MiB
    const std::string line(64 * 1024, 'x');
    for (int i = 0; i < 1600; ++i) {
        if (::write(fd, line.data(), line.size()) < 0) return report(false);
    }
    return 0;
}

int fill_tmp() {
    const std::string block(1 << 20, 'x');
    for (int i = 0; i < 200; ++i) {
        const int fd = ::open(("/tmp/" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600);
        if (fd < 0 ||
            ::write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size())) {
            return report(false);
        }
        ::close(fd);
    }
    return report(true);
}

/// Descriptors above stderr that it was left with.
int descriptors() {
    int count = 0;
    for (int fd = 3; fd < 64; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    std::printf("%d\n", count);
    return 0;
}

int identity() {
    std::printf("%u %u %d %zu\n", ::getuid(), ::getgid(), ::getgroups(0, nullptr),
                environ[0] == nullptr ? 0 : std::strlen(environ[0]));
    return 0;
}

int limits() {
    for (const auto what :
         {RLIMIT_AS, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_CORE}) {
        rlimit limit{};
        ::getrlimit(what, &limit);
        std::printf("%llu ", static_cast<unsigned long long>(limit.rlim_cur));
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::map<std::string, int (*)()> attempts{
        {"socket", [] { return report(::socket(AF_INET, SOCK_STREAM, 0) >= 0); }},
        {"unix_socket", [] { return report(::socket(AF_UNIX, SOCK_STREAM, 0) >= 0); }},
        {"connect", connect_home},
        {"fork", [] { return report(::fork() >= 0); }},
        {"clone3", [] { return report(::syscall(SYS_clone3, nullptr, 0) >= 0); }},
        {"unshare", [] { return report(::unshare(CLONE_NEWUSER) == 0); }},
        {"ptrace", [] { return report(::ptrace(PTRACE_TRACEME, 0, 0, 0) == 0); }},
        {"mount", [] { return report(::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0); }},
        {"setuid", [] { return report(::setresuid(0, 0, 0) == 0); }},
        {"kill", [] { return report(::kill(-1, SIGKILL) == 0); }},
        {"sleep", [] { return report(::usleep(1) == 0); }},
        {"wait", [] { return report(::poll(nullptr, 0, -1) == 0); }},
        {"passwd", [] { return open_for("/etc/passwd", O_RDONLY); }},
        {"environ", [] { return open_for("/proc/self/environ", O_RDONLY); }},
        {"home", [] { return open_for("/home", O_RDONLY); }},
        {"usr", [] { return open_for("/usr/escape", O_WRONLY | O_CREAT); }},
        {"root", [] { return open_for("/escape", O_WRONLY | O_CREAT); }},
        {"tmp", [] { return open_for("/tmp/escape", O_WRONLY | O_CREAT); }},
        {"fill_tmp", fill_tmp},
        {"allocate", allocate},
        {"loop", loop},
        {"print", [] { return print(1); }},
        {"complain", [] { return print(2); }},
        {"descriptors", descriptors},
        {"identity", identity},
        {"limits", limits},
        {"abort",
         [] {
             std::abort();
             return 0;
         }},
        {"exit", [] { return 42; }},
        {"echo",
         [] {
             std::string line(4096, '\0');
             const auto got = ::read(0, line.data(), line.size());
             return got == ::write(1, line.data(), static_cast<std::size_t>(got)) ? 0 : 1;
         }},
        {"silent_loop",
         [] {
             ::close(1);
             return loop();
         }},
    };
    const auto attempt = argc == 2 ? attempts.find(argv[1]) : attempts.end();
    return attempt == attempts.end() ? 2 : attempt->second();
}
