#include "workers/embedding/extract/pdf.hpp"

#include <algorithm>
#include <fstream>
#include <string>

namespace millrace::workers::embedding::extract {

bool pdf_is_complete(const std::filesystem::path& file) {
    constexpr std::streamoff k_tail_bytes = 4096;  // some programs append to a finished file
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    const std::streamoff size = in.tellg();
    in.seekg(std::max<std::streamoff>(0, size - k_tail_bytes));
    std::string tail(static_cast<std::size_t>(std::clamp<std::streamoff>(size, 0, k_tail_bytes)),
                     '\0');
    in.read(tail.data(), static_cast<std::streamsize>(tail.size()));
    return in && tail.contains("%%EOF");
}

std::optional<Refusal> pdf_refusal(int exit_code, std::string_view messages) noexcept {
    constexpr int k_cannot_open = 1, k_not_permitted = 3, k_other = 99;
    if (exit_code == k_not_permitted) return Refusal::pdf_encrypted;
    // A page count that cannot be true is read as no pages at all.
    if (exit_code == k_other && messages.contains("Wrong page range")) return Refusal::pdf_damaged;
    if (exit_code != k_cannot_open) return std::nullopt;
    return messages.contains("Incorrect password") || messages.contains("ncrypt")
               ? Refusal::pdf_encrypted
               : Refusal::pdf_damaged;
}

}  // namespace millrace::workers::embedding::extract
