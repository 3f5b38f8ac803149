#pragma once
// The little of ZIP (APPNOTE 6.3) that a Word document needs, read with suspicion [engineering
// S12]: everything is checked against the central directory before the first byte is inflated, and
// inflating is metered.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "workers/embedding/extract/refusal.hpp"

namespace millrace::workers::embedding::extract {

struct ZipLimits {
    std::size_t entries_max = 2000;
    std::uint64_t declared_bytes_max = 100ULL << 20;  ///< all entries, unpacked, as they say
    std::uint64_t ratio_max = 100;                    ///< per entry, as measured while inflating …
    std::uint64_t ratio_free_bytes =
        256ULL << 10;  ///< … beyond so many bytes: small parts may be very regular
};

struct ZipEntry {
    std::string name;
    std::uint16_t method = 0;  ///< 0 stored, 8 deflated
    std::uint32_t crc = 0;
    std::uint64_t packed = 0, unpacked = 0;
    std::uint64_t header = 0;  ///< offset of the local header
    std::uint64_t data = 0;    ///< offset of the packed bytes
};

class Zip {
 public:
    /// `bytes` must outlive the Zip. Refuses: more entries or bytes than allowed, entries that
    /// overlap or do not match their local header, links, encrypted entries, archives within
    /// (except the documents that Word embeds, which are never opened), several disks, ZIP64, and
    /// anything that does not add up. Names are never used as paths.
    [[nodiscard]] static Parsed<Zip> open(std::string_view bytes, const ZipLimits& limits = {});

    /// The only entry of that name; nullptr if there is none.
    [[nodiscard]] const ZipEntry* find(std::string_view name) const;
    [[nodiscard]] const std::vector<ZipEntry>& entries() const noexcept { return entries_; }

    /// Hands the unpacked bytes over piece by piece, until `take` returns false.
    [[nodiscard]] Parsed<void> inflate(const ZipEntry& entry,
                                       const std::function<bool(std::string_view)>& take) const;

 private:
    std::string_view bytes_;
    ZipLimits limits_;
    std::vector<ZipEntry> entries_;
};

}  // namespace millrace::workers::embedding::extract
