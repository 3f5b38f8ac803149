// Framing guard, head parser, chunked decoder and URL decoding over any bytes. What they promise
// each other is checked, not only that they survive.

#include <string>
#include <string_view>

#include "edge/server/framing.hpp"
#include "edge/server/head.hpp"
#include "edge/server/router.hpp"
#include "tests/fuzz/target.hpp"

using namespace millrace::edge::server;

namespace {

constexpr std::uint64_t k_body_max = 4096;

struct Decoded {
    ChunkedDecoder::Event end = ChunkedDecoder::Event::more;
    std::string body, rest;
};

/// As the connection does it: bytes arrive in pieces, what was not taken stays in front.
Decoded decode(std::string_view bytes, std::size_t piece) {
    Decoded out;
    ChunkedDecoder decoder(k_body_max);
    std::string buffer;
    while (!bytes.empty()) {
        buffer += bytes.substr(0, piece);
        bytes.remove_prefix(std::min(piece, bytes.size()));
        std::string_view input = buffer;
        do {
            out.end = decoder.next(input);
            if (out.end == ChunkedDecoder::Event::data) out.body += decoder.data();
        } while (out.end == ChunkedDecoder::Event::data);
        buffer = std::string(input);
        if (out.end != ChunkedDecoder::Event::more) break;
    }
    if (out.end == ChunkedDecoder::Event::end) out.rest = buffer + std::string(bytes);
    return out;
}

void look_at_head(std::string_view head) {
    const auto framing = check_head(head, {});
    if (!framing) {
        fuzz::require(framing.error().status >= 400 && !framing.error().why.empty());
        return;
    }
    fuzz::require(is_token(framing->method));
    fuzz::require(!framing->chunked || (!framing->content_length && !framing->http_1_0));
    fuzz::require(!is_hopeless(head, 0));
    for (std::size_t size = 0; size < head.size(); ++size)
        fuzz::require(!is_hopeless(head.substr(0, size), 0));
    HeadParser parser;
    Request request;
    if (!parser.parse(head, *framing, request)) return;
    fuzz::require(request.target == "*" || request.target.starts_with('/') ||
                  request.target.starts_with('?'));
    fuzz::require(framing->http_1_0 || !request.header("host").empty() ||
                  framing->target.find("://") != std::string_view::npos);
    (void)request.query_param("a");
    (void)percent_decode(request.path, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto end = bytes.find("\r\n\r\n");
    const auto head = bytes.substr(0, end == std::string_view::npos ? size : end + 4);
    look_at_head(head);
    const auto body = bytes.substr(head.size());
    const auto whole = decode(body, body.size() + 1);
    fuzz::require(whole.body.size() <= k_body_max);
    for (const std::size_t piece : {1UZ, 2UZ, 7UZ}) {
        const auto pieces = decode(body, piece);
        fuzz::require(pieces.end == whole.end && pieces.rest == whole.rest);
        if (whole.end == ChunkedDecoder::Event::end) fuzz::require(pieces.body == whole.body);
    }
    return 0;
}
