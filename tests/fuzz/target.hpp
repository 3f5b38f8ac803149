#pragma once
// What every fuzz target shares. A target is one function over bytes; libFuzzer drives it under the
// preset `fuzz`, corpus_main.cpp over the committed corpus everywhere else.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace fuzz {

/// A broken promise ends the process, so that either driver reports the input.
inline void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
