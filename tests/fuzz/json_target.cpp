// The strict JSON reader: what it accepts, it can write and read again, to the same text.

#include <string>
#include <string_view>

#include "shared/json/reader.hpp"
#include "tests/fuzz/target.hpp"

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto document = json::parse(bytes);
    if (!document) {
        fuzz::require(!document.error().detail.empty());
        return 0;
    }
    auto root = document->reader();
    (void)root.optional_string("a", {0, 8});
    (void)root.optional_integer("a", -5, 5);
    (void)root.optional_number("a", -5, 5);
    (void)root.optional_uuid("a");
    (void)root.strings("s", 4);
    (void)root.numbers("n", 4);
    (void)root.error();
    auto again = document->reader();
    if (again.error()) return 0;  // not an object
    const auto text = again.raw("a");
    const auto second = json::parse("{\"a\":" + text + "}");
    fuzz::require(second.has_value());
    fuzz::require(second->reader().raw("a") == text);
    return 0;
}
