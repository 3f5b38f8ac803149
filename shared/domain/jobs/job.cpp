#include "shared/domain/jobs/job.hpp"

#include <array>

#include "shared/base/result.hpp"

namespace millrace::domain::jobs {

namespace {
constexpr std::array<std::string_view, 8> k_names = {"queued",    "waiting", "parked", "running",
                                                     "succeeded", "failed",  "dead",   "cancelled"};
}

std::string_view to_string(Status status) noexcept {
    return k_names[static_cast<std::size_t>(status)];
}

Status parse_status(std::string_view text) {
    for (std::size_t i = 0; i < k_names.size(); ++i) {
        if (k_names[i] == text) return static_cast<Status>(i);
    }
    check(false, "the database knows no other job status");
    return Status::queued;
}

}  // namespace millrace::domain::jobs
