#pragma once
// The framing guard: what a request head must be before anything else looks at it (RFC 9112; the
// rules of request smuggling). It runs over the raw bytes, in front of Beast, whose 1.81 release
// has known framing holes.

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::edge::server {

/// Why a head is refused, and with which status the connection ends.
struct Violation {
    int status = 400;
    std::string_view why;
};

/// What the guard has learnt about the message's framing.
struct Framing {
    std::optional<std::uint64_t> content_length;
    bool chunked = false;
    bool http_1_0 = false;
    bool later_minor = false;  ///< HTTP/1.2 and up: served as 1.1 (RFC 9110 §2.5)
    bool keep_alive = true;
    bool expects_continue = false;
    std::string_view method, target;  ///< into the head
};

struct HeadLimits {
    std::size_t fields_max = 64;
    std::size_t target_bytes_max = 4096;
};

/// `head` ends with the empty line, "\r\n\r\n" included.
[[nodiscard]] std::expected<Framing, Violation> check_head(std::string_view head,
                                                           const HeadLimits& limits);

/// True when the beginning of a head, of which `seen` bytes were looked at before, can never become
/// a good one: its first byte starts no method, or a line ends with LF alone. Saves waiting for
/// the rest of what is not HTTP.
[[nodiscard]] bool is_hopeless(std::string_view begun, std::size_t seen) noexcept;

/// RFC 9110 §5.6.2.
[[nodiscard]] bool is_token(std::string_view text) noexcept;
/// Host header or authority: a reg-name, IPv4 or bracketed IPv6 with an optional port; no user
/// information, and no comma, which only a list of hosts would hold.
[[nodiscard]] bool is_host(std::string_view text) noexcept;

/// Strict chunked decoder: no trailers, short chunk lines, everything counted.
class ChunkedDecoder {
 public:
    explicit ChunkedDecoder(std::uint64_t body_bytes_max) : left_max_(body_bytes_max) {}

    enum class Event : std::uint8_t { more, data, end, too_large, invalid };
    /// Consumes bytes from the front of `input`. `data`: the bytes of data() belong to the body (a
    /// view into input).
    Event next(std::string_view& input);
    [[nodiscard]] std::string_view data() const noexcept { return data_; }

    static constexpr std::size_t k_line_bytes_max = 256;
    static constexpr std::uint32_t k_chunks_max = 1 << 20;

 private:
    enum class State : std::uint8_t { size_line, bytes, bytes_end, last, done };
    Event size_line(std::string_view& input);

    State state_ = State::size_line;
    std::uint64_t chunk_left_ = 0;
    std::uint64_t left_max_;
    std::uint32_t chunks_ = 0;
    std::string_view data_;
};

}  // namespace millrace::edge::server
