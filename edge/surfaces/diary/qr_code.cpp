#include "edge/surfaces/diary/qr_code.hpp"

#include <fmt/format.h>
#include <qrencode.h>

#include <iterator>
#include <memory>

#include "shared/base/crypto.hpp"
#include "shared/base/result.hpp"

namespace millrace::edge::surfaces::diary {

namespace {

constexpr int k_quiet = 4;

}  // namespace

std::string qr_code_uri(const std::string& text) {
    const std::unique_ptr<QRcode, void (*)(QRcode*)> code(
        QRcode_encodeData(static_cast<int>(text.size()),
                          reinterpret_cast<const unsigned char*>(text.data()), 0, QR_ECLEVEL_M),
        QRcode_free);
    check(code != nullptr, "a QR code holds the text");
    const int size = code->width + 2 * k_quiet;
    std::string svg = fmt::format(
        R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {0}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{0}v{0}H0z"/><path d=")",
        size);
    for (int y = 0; y < code->width; ++y) {
        for (int x = 0; x < code->width; ++x) {
            const bool dark = (code->data[y * code->width + x] & 1U) != 0;
            if (dark)
                fmt::format_to(std::back_inserter(svg), "M{} {}h1v1h-1z", x + k_quiet, y + k_quiet);
        }
    }
    svg += R"("/></svg>)";
    return "data:image/svg+xml;base64," + base::base64(svg);
}

}  // namespace millrace::edge::surfaces::diary
