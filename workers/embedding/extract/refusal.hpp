#pragma once
// Why a document can never be read. millrace-extract ends with these numbers; the caller turns them
// into errors.

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::workers::embedding::extract {

enum class Refusal : std::uint8_t {
    empty_file = 10,
    no_text,
    too_much_text,
    too_complex,
    text_encoding,
    docx_damaged,
    docx_bomb,
    docx_unsafe,
    docx_encrypted,
    pdf_damaged,
    pdf_truncated,
    pdf_encrypted,
    pdf_no_text,
};

/// What code inside the sandbox returns; `why` is for the operator's log.
struct Refused {
    Refusal refusal;
    std::string why;
};
template <class T>
using Parsed = std::expected<T, Refused>;

inline std::unexpected<Refused> refuse(Refusal refusal, std::string why) {
    return std::unexpected(Refused{refusal, std::move(why)});
}

/// Stable code for programs ("PDF_ENCRYPTED"), and a sentence for the person who uploaded it.
[[nodiscard]] std::string_view reason(Refusal refusal) noexcept;
[[nodiscard]] std::string_view sentence(Refusal refusal) noexcept;
[[nodiscard]] std::optional<Refusal> refusal_of_exit_code(int code) noexcept;

}  // namespace millrace::workers::embedding::extract
