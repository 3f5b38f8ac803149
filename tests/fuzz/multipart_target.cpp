// The multipart parser: however the bytes are cut, the same parts come out.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "edge/middleware/multipart.hpp"
#include "tests/fuzz/target.hpp"

using millrace::edge::middleware::multipart_boundary;
using millrace::edge::middleware::MultipartParser;

namespace {

struct Parsed {
    std::vector<std::pair<std::string, std::string>> parts;  ///< name and file name, content
    bool ended = false, failed = false;
};

Parsed parse(std::string_view bytes, std::size_t piece) {
    Parsed out;
    MultipartParser parser("b");
    while (!bytes.empty() && !out.ended && !out.failed) {
        parser.feed(bytes.substr(0, piece));
        bytes.remove_prefix(std::min(piece, bytes.size()));
        for (;;) {
            const auto event = parser.next();
            out.failed = !event.has_value();
            if (out.failed || *event == MultipartParser::Event::more) break;
            out.ended = *event == MultipartParser::Event::end;
            if (out.ended) break;
            if (*event == MultipartParser::Event::part)
                out.parts.emplace_back(
                    parser.head().name + "/" + parser.head().file_name.value_or("-"), "");
            if (*event == MultipartParser::Event::data) out.parts.back().second += parser.data();
        }
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    (void)multipart_boundary(bytes);
    const auto whole = parse(bytes, size + 1);
    fuzz::require(whole.parts.size() <= MultipartParser::k_parts_max);
    for (const std::size_t piece : {1UZ, 3UZ, 64UZ}) {
        const auto pieces = parse(bytes, piece);
        fuzz::require(pieces.ended == whole.ended);
        if (whole.ended) fuzz::require(pieces.parts == whole.parts);
    }
    return 0;
}
