#include "shared/base/result.hpp"

#include <cstdio>
#include <cstdlib>

namespace millrace::base {

std::string_view to_string(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::invalid:
            return "invalid";
        case ErrorCode::unauthenticated:
            return "unauthenticated";
        case ErrorCode::forbidden:
            return "forbidden";
        case ErrorCode::not_found:
            return "not_found";
        case ErrorCode::conflict:
            return "conflict";
        case ErrorCode::too_large:
            return "too_large";
        case ErrorCode::rate_limited:
            return "rate_limited";
        case ErrorCode::timeout:
            return "timeout";
        case ErrorCode::unavailable:
            return "unavailable";
        case ErrorCode::cancelled:
            return "cancelled";
        case ErrorCode::internal:
            return "internal";
    }
    return "internal";
}

bool is_transient(ErrorCode code) noexcept {
    return code == ErrorCode::rate_limited || code == ErrorCode::timeout ||
           code == ErrorCode::unavailable || code == ErrorCode::internal;
}

std::unexpected<Error> fail(ErrorCode code, std::string detail, ErrorExtra extra,
                            std::source_location where) {
    return std::unexpected(Error{code, std::move(detail), std::move(extra.log),
                                 std::move(extra.field), std::move(extra.reason),
                                 std::move(extra.source), extra.retry_after, where});
}

void check(bool condition, std::string_view what, std::source_location where) {
    if (condition) [[likely]]
        return;
    std::fprintf(stderr,
                 R"({"level":"fatal","message":"invariant broken","what":"%.*s","at":"%s:%u"})"
                 "\n",
                 static_cast<int>(what.size()), what.data(), where.file_name(),
                 static_cast<unsigned>(where.line()));
    std::abort();
}

}  // namespace millrace::base
