#include "edge/middleware/memory_guard.hpp"

#include <unistd.h>

#include <fstream>

namespace millrace::edge::middleware {

std::uint64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::uint64_t total = 0, resident = 0;
    file >> total >> resident;
    return file ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

server::Pressure pressure_of(std::uint64_t resident, std::uint64_t bytes_max) noexcept {
    if (bytes_max == 0 || resident <= bytes_max / 100 * 85) return server::Pressure::none;
    return resident <= bytes_max / 100 * 95 ? server::Pressure::high : server::Pressure::critical;
}

}  // namespace millrace::edge::middleware
