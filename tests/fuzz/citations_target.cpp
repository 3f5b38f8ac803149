// The filter that a model's words go through: however the bytes are cut, the same comes out, and
// what comes out holds no link, image, element or mark that was not verified.

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/citations.hpp"
#include "tests/fuzz/target.hpp"

using namespace millrace::domain::knowledge;

namespace {

const std::array k_passages = {
    Passage{"Guide",
            "The machine has to be descaled every three months. See "
            "https://example.com/manual for more."},
    Passage{"Mail", "Write to help@example.com, or look at www.example.com."}};

struct Said {
    std::string text;
    std::vector<std::string> quotes;
    std::vector<std::size_t> cited;
};

Said filtered(std::string_view bytes, std::size_t piece) {
    Said said;
    CitationFilter filter(k_passages);
    const auto take = [&](const std::vector<CitationFilter::Out>& outs) {
        for (const auto& out : outs) {
            said.text += out.text;
            for (const auto& citation : out.citations) {
                said.quotes.push_back(citation.quote);
                said.cited.push_back(citation.passage);
            }
        }
    };
    for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size())))
        take(filter.push(bytes.substr(0, piece)));
    take(filter.finish());
    return said;
}

std::size_t count(std::string_view text, std::string_view what) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; ++at) ++found;
    return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto whole = filtered(bytes, size + 1);
    for (const std::size_t piece : {1UZ, 2UZ, 7UZ}) {
        const auto pieces = filtered(bytes, piece);
        fuzz::require(pieces.text == whole.text && pieces.quotes == whole.quotes);
    }
    fuzz::require(millrace::base::is_valid_utf8(whole.text));
    for (const std::string_view never : {"](", "]:", "![", "javascript:"})
        fuzz::require(count(whole.text, never) == 0);
    for (const std::string element : {"<script", "<img", "<svg", "<iframe"}) {
        for (const char* end : {" ", "/", ">", "\n", "="})
            fuzz::require(count(whole.text, element + end) == 0);
    }
    fuzz::require(count(whole.text, "://") == count(whole.text, "https://example.com/manual"));
    std::size_t marks = 0;
    for (std::size_t number = 0; number <= 9; ++number)
        marks += count(whole.text, "[" + std::to_string(number) + "]");
    fuzz::require(marks == whole.cited.size());
    for (const auto passage : whole.cited) fuzz::require(passage < k_passages.size());
    return 0;
}
