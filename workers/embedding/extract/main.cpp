// millrace-extract docx|txt < file: runs inside the sandbox, one document per process. Writes the
// title line and the pages, or ends with the number of its refusal.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <new>
#include <string_view>

#include "workers/embedding/extract/docx.hpp"
#include "workers/embedding/extract/plain_text.hpp"

namespace {

using namespace millrace::workers::embedding::extract;

/// The sandbox's filter must allow execve, or it could not have started us. From here on nothing is
/// executed any more.
bool give_up_execve() {
    constexpr auto k_nr = static_cast<std::uint32_t>(offsetof(seccomp_data, nr));
    std::array program = {
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, k_nr),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 1, 0),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

/// The file on stdin, mapped: only the pages that are looked at take memory.
Parsed<std::string_view> input() {
    struct stat info{};
    if (::fstat(STDIN_FILENO, &info) != 0 || !S_ISREG(info.st_mode))
        return refuse(Refusal::too_complex, "stdin is not a file");
    if (info.st_size == 0) return refuse(Refusal::empty_file, "no bytes");
    const auto size = static_cast<std::size_t>(info.st_size);
    void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, STDIN_FILENO, 0);
    if (bytes == MAP_FAILED) return refuse(Refusal::too_complex, "the file cannot be mapped");
    return std::string_view(static_cast<const char*>(bytes), size);
}

Parsed<ExtractedText> read(std::string_view format) {
    const auto file = input();
    if (!file) return std::unexpected(file.error());
    if (format == "docx") return read_docx(*file);
    auto text = read_plain_text(*file);
    if (!text) return std::unexpected(text.error());
    return ExtractedText{.title = {}, .pages = std::move(*text)};
}

int refused(Refusal refusal, const char* why) {
    std::fprintf(stderr, "%s\n", why);
    return static_cast<int>(refusal);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view format = argc == 2 ? argv[1] : "";
    if (format != "docx" && format != "txt") {
        std::fputs("usage: millrace-extract docx|txt < file\n", stderr);
        return 2;
    }
    if (!give_up_execve()) {
        std::perror("seccomp");
        return 2;
    }
    try {
        const auto text = read(format);
        if (!text) return refused(text.error().refusal, text.error().why.c_str());
        const bool written =
            std::fwrite(text->title.data(), 1, text->title.size(), stdout) == text->title.size() &&
            std::fputc('\n', stdout) != EOF &&
            std::fwrite(text->pages.data(), 1, text->pages.size(), stdout) == text->pages.size() &&
            std::fflush(stdout) == 0;
        return written ? 0 : 2;
    } catch (const std::bad_alloc&) {
        return refused(Refusal::too_complex, "out of memory");
    }
}
