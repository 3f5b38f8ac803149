// Runs a fuzz target over every file of a folder: the regression run that needs no libFuzzer.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/fuzz/target.hpp"

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: <target> CORPUS\n", stderr);
        return 2;
    }
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
        std::ifstream file(entry.path(), std::ios::binary);
        std::string bytes(std::istreambuf_iterator<char>(file), {});
        std::printf("%s\n", entry.path().c_str());  // the last one printed is the one that failed
        (void)std::fflush(stdout);
        // And every beginning of it: what a connection holds while bytes arrive.
        for (std::size_t size = 0; size <= bytes.size(); size += 1 + bytes.size() / 64)
            LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), size);
        LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
        ++count;
    }
    std::printf("%zu inputs\n", count);
    return count == 0 ? 1 : 0;
}
