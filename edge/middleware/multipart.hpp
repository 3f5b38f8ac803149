#pragma once
// multipart/form-data (RFC 7578) as it arrives: no part is ever held whole here.

#include <optional>
#include <string>
#include <string_view>

#include "shared/base/result.hpp"

namespace millrace::edge::middleware {

struct PartHead {
    std::string name;
    std::optional<std::string>
        file_name;  ///< as sent, any bytes that are valid UTF-8; never a path to use
};

/// Feed bytes as they come; events come back one at a time until `more`.
class MultipartParser {
 public:
    enum class Event : std::uint8_t { more, part, data, part_end, end };

    explicit MultipartParser(std::string boundary);

    /// Appends bytes to what is not parsed yet.
    void feed(std::string_view bytes) { buffer_ += bytes; }
    /// The next event. `data` and `head` belong to it. `invalid` when the body is not what its
    /// boundary promises.
    Result<Event> next();
    [[nodiscard]] const PartHead& head() const noexcept { return head_; }
    /// Valid until the next call of next() or feed().
    [[nodiscard]] std::string_view data() const noexcept { return data_; }

    static constexpr std::size_t k_part_head_bytes_max = 4096;
    static constexpr std::size_t k_parts_max = 16;

 private:
    enum class State : std::uint8_t { preamble, after_boundary, head, body, done };

    Result<Event> part_head();
    Event body();

    std::string delimiter_;  ///< "\r\n--boundary"
    std::string buffer_;
    std::size_t consumed_ = 0;  ///< of buffer_, by the event last returned
    std::string_view data_;
    PartHead head_;
    State state_ = State::preamble;
    std::size_t parts_ = 0;
};

/// The boundary of a multipart/form-data content type; nullopt when it is another type or has none.
[[nodiscard]] std::optional<std::string> multipart_boundary(std::string_view content_type);

}  // namespace millrace::edge::middleware
