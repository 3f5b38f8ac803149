#pragma once
// Errors as values. One closed list of codes tells the caller what to *do*; one function per
// boundary turns an Error into HTTP, or into ack / retry / dead letter.

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace millrace::base {

enum class ErrorCode : std::uint8_t {
    invalid,          // mend the input
    unauthenticated,  // present a credential
    forbidden,        // this credential may not
    not_found,
    conflict,  // the state of the thing does not allow it
    too_large,
    rate_limited,  // retry after retry_after
    timeout,       // retry later
    unavailable,   // a dependency is away: retry later
    cancelled,     // the caller asked for it
    internal,      // a bug: a person should act
};

[[nodiscard]] std::string_view to_string(ErrorCode code) noexcept;

/// Whether the same call may succeed later without a change of its input.
[[nodiscard]] bool is_transient(ErrorCode code) noexcept;

struct Error {
    ErrorCode code = ErrorCode::internal;
    std::string detail;  ///< for the client: safe to show
    std::string log;     ///< for the operator: what really happened; never shown to a client
    std::string field;   ///< path of the offending input member, e.g. "input.top_k"; empty if none
    std::string reason;  ///< the surface's own code where the contract names one, e.g.
                         ///< "INVALID_CREDENTIALS"
    std::string source{};  ///< a driver's machine-readable cause ("23505:users_email_key",
                           ///< "curl:28"); never shown
    std::optional<std::chrono::seconds> retry_after{};
    std::source_location where = std::source_location::current();
};

template <class T = void>
using Result = std::expected<T, Error>;

/// `return fail(ErrorCode::invalid, "top_k must be between 1 and 20", {.field = "top_k"})` in one
/// word.
struct ErrorExtra {
    std::string log{};
    std::string field{};
    std::string reason{};
    std::string source{};
    std::optional<std::chrono::seconds> retry_after{};
};
[[nodiscard]] std::unexpected<Error> fail(
    ErrorCode code, std::string detail, ErrorExtra extra = {},
    std::source_location where = std::source_location::current());

/// An invariant that holds unless the program has a bug; checked in release too, never used for
/// input.
void check(bool condition, std::string_view what,
           std::source_location where = std::source_location::current());

}  // namespace millrace::base

namespace millrace {
using base::check;
using base::Error;
using base::ErrorCode;
using base::fail;
using base::Result;
}  // namespace millrace

// TRY(auto x, expr): x = *expr, or return its error from a plain function. CO_TRY: the same from a
// coroutine. The expression is a whole statement of its own, so no temporary lives across a
// co_await.
#define MILLRACE_CONCAT_(a, b) a##b
#define MILLRACE_CONCAT(a, b) MILLRACE_CONCAT_(a, b)
#define MILLRACE_TRY_(tmp, ret, decl, ...)                 \
    auto tmp = (__VA_ARGS__);                              \
    if (!tmp) ret std::unexpected(std::move(tmp).error()); \
    decl = std::move(*tmp)
#define MILLRACE_TRY_VOID_(tmp, ret, ...)                                                \
    do {                                                                                 \
        if (auto tmp = (__VA_ARGS__); !tmp) ret std::unexpected(std::move(tmp).error()); \
    } while (false)
#define TRY(decl, ...) MILLRACE_TRY_(MILLRACE_CONCAT(try_, __LINE__), return, decl, __VA_ARGS__)
#define CO_TRY(decl, ...) \
    MILLRACE_TRY_(MILLRACE_CONCAT(try_, __LINE__), co_return, decl, __VA_ARGS__)
#define TRY_VOID(...) MILLRACE_TRY_VOID_(MILLRACE_CONCAT(try_, __LINE__), return, __VA_ARGS__)
#define CO_TRY_VOID(...) MILLRACE_TRY_VOID_(MILLRACE_CONCAT(try_, __LINE__), co_return, __VA_ARGS__)
