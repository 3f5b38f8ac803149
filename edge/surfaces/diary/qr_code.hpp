#pragma once
// A text as a QR code (ISO/IEC 18004) that an <img> can show.

#include <string>

namespace millrace::edge::surfaces::diary {

/// An SVG as a data URI; error correction level M, four modules of quiet zone. `text`: at most a
/// few hundred bytes.
[[nodiscard]] std::string qr_code_uri(const std::string& text);

}  // namespace millrace::edge::surfaces::diary
