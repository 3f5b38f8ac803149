#include "workers/embedding/extract/zip.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

namespace millrace::workers::embedding::extract {

namespace {

constexpr std::uint32_t k_local_signature = 0x04034B50;
constexpr std::uint32_t k_central_signature = 0x02014B50;
constexpr std::uint32_t k_end_signature = 0x06054B50;
constexpr std::size_t k_local_bytes = 30, k_central_bytes = 46, k_end_bytes = 22;
constexpr std::size_t k_comment_bytes_max = 0xFFFF;
constexpr std::uint16_t k_flag_encrypted = 0x0001, k_flag_strong_encryption = 0x0040;
constexpr std::uint16_t k_stored = 0, k_deflated = 8;
constexpr std::uint8_t k_made_by_unix = 3;
constexpr std::uint32_t k_mode_type = 0170000, k_mode_link = 0120000;
constexpr std::size_t k_piece_bytes = 64 * 1024;

/// Little-endian numbers; reading past the end gives zero, and callers check sizes first.
template <class T>
T read(std::string_view bytes, std::size_t at) {
    T value = 0;
    if (at > bytes.size() || bytes.size() - at < sizeof(T)) return value;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value = static_cast<T>(value | static_cast<T>(static_cast<unsigned char>(bytes[at + i]))
                                           << (8 * i));
    }
    return value;
}
std::uint16_t u16(std::string_view bytes, std::size_t at) {
    return read<std::uint16_t>(bytes, at);
}
std::uint32_t u32(std::string_view bytes, std::size_t at) {
    return read<std::uint32_t>(bytes, at);
}

std::unexpected<Refused> damaged(std::string why) {
    return refuse(Refusal::docx_damaged, "zip: " + std::move(why));
}

/// Where the directory is, as the end record says; the record must end exactly with the file.
struct Directory {
    std::uint64_t offset, size;
    std::size_t entries;
};

Parsed<Directory> find_directory(std::string_view bytes) {
    if (bytes.size() < k_end_bytes) return damaged("too short");
    const auto first = bytes.size() - std::min(bytes.size(), k_end_bytes + k_comment_bytes_max);
    for (auto at = bytes.size() - k_end_bytes + 1; at-- > first;) {
        if (u32(bytes, at) != k_end_signature ||
            at + k_end_bytes + u16(bytes, at + 20) != bytes.size())
            continue;
        const auto entries = u16(bytes, at + 10);
        const Directory found{u32(bytes, at + 16), u32(bytes, at + 12), entries};
        if (u16(bytes, at + 4) != 0 || u16(bytes, at + 6) != 0 || u16(bytes, at + 8) != entries)
            return damaged("several disks");
        if (entries == 0xFFFF || found.offset == 0xFFFFFFFF)
            return refuse(Refusal::docx_bomb, "zip: ZIP64");
        if (found.offset + found.size != at)
            return damaged("the directory is not where the end record says");
        return found;
    }
    return damaged("no end record");
}

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings) {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
    return std::ranges::any_of(endings,
                               [&](std::string_view ending) { return lower.ends_with(ending); });
}

/// Word embeds spreadsheets and documents, which are archives too; they stay closed. Any other
/// archive has no business here.
bool is_forbidden_archive(std::string_view name, std::string_view data) {
    if (ends_with_any(name, {".zip", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".tar",
                             ".jar", ".cab"}))
        return true;
    if (name.starts_with("word/embeddings/")) return false;
    return ends_with_any(name, {".docx", ".docm", ".xlsx", ".xlsm", ".pptx", ".pptm"}) ||
           data.starts_with("PK\x03\x04");
}

/// One record of the directory; `at` moves behind it.
Parsed<ZipEntry> read_record(std::string_view directory, std::size_t& at) {
    if (directory.size() - at < k_central_bytes || u32(directory, at) != k_central_signature)
        return damaged("no directory record");
    const auto record = directory.substr(at);
    const std::size_t name = u16(record, 28), extra = u16(record, 30), comment = u16(record, 32);
    if (record.size() < k_central_bytes + name + extra + comment)
        return damaged("a directory record is cut off");
    at += k_central_bytes + name + extra + comment;
    ZipEntry entry{.name = std::string(record.substr(k_central_bytes, name)),
                   .method = u16(record, 10),
                   .crc = u32(record, 16),
                   .packed = u32(record, 20),
                   .unpacked = u32(record, 24),
                   .header = u32(record, 42)};
    const auto flags = u16(record, 8);
    if ((flags & (k_flag_encrypted | k_flag_strong_encryption)) != 0)
        return refuse(Refusal::docx_encrypted, "zip: an encrypted entry");
    const auto made_by = static_cast<std::uint8_t>(u16(record, 4) >> 8);
    if (made_by == k_made_by_unix && ((u32(record, 38) >> 16) & k_mode_type) == k_mode_link) {
        return refuse(Refusal::docx_unsafe, "zip: a symbolic link");
    }
    if (entry.packed == 0xFFFFFFFF || entry.unpacked == 0xFFFFFFFF)
        return refuse(Refusal::docx_bomb, "zip: ZIP64");
    if (entry.method != k_stored && entry.method != k_deflated)
        return damaged("a method that Word does not use");
    if (entry.method == k_stored && entry.packed != entry.unpacked)
        return damaged("a stored entry changes its size");
    if (entry.name.empty() || entry.name.contains('\0')) return damaged("a name that is none");
    return entry;
}

/// The local header must say the same as the directory; sets where the data begins.
Parsed<void> check_local(std::string_view before_directory, ZipEntry& entry) {
    if (entry.header > before_directory.size() ||
        before_directory.size() - entry.header < k_local_bytes)
        return damaged("a header outside the file");
    const auto local = before_directory.substr(entry.header);
    const std::size_t name = u16(local, 26), extra = u16(local, 28);
    if (u32(local, 0) != k_local_signature || u16(local, 8) != entry.method ||
        local.substr(k_local_bytes, name) != entry.name) {
        return damaged("a local header differs from the directory");
    }
    entry.data = entry.header + k_local_bytes + name + extra;
    if (entry.data > before_directory.size() || before_directory.size() - entry.data < entry.packed)
        return damaged("data outside the file");
    return {};
}

Parsed<void> check_no_overlap(const std::vector<ZipEntry>& entries) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (const auto& entry : entries) ranges.emplace_back(entry.header, entry.data + entry.packed);
    std::ranges::sort(ranges);
    for (std::size_t i = 1; i < ranges.size(); ++i) {
        if (ranges[i].first < ranges[i - 1].second)
            return refuse(Refusal::docx_bomb, "zip: entries overlap");
    }
    return {};
}

struct Inflater {
    z_stream stream{};
    Inflater() { ready = inflateInit2(&stream, -MAX_WBITS) == Z_OK; }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;
    ~Inflater() {
        if (ready) inflateEnd(&stream);
    }
    bool ready;
};

/// Counts what comes out of one entry, and stops it when that is too much.
class Meter {
 public:
    Meter(const ZipEntry& entry, const ZipLimits& limits) : entry_(entry), limits_(limits) {}

    Parsed<void> add(std::string_view piece, std::uint64_t packed_so_far) {
        size_ += piece.size();
        crc_ = crc32(crc_, reinterpret_cast<const Bytef*>(piece.data()),
                     static_cast<uInt>(piece.size()));
        if (size_ > limits_.ratio_free_bytes &&
            size_ > limits_.ratio_max * std::max<std::uint64_t>(packed_so_far, 1)) {
            return refuse(Refusal::docx_bomb,
                          "zip: " + entry_.name + " unpacks to more than 100 times its size");
        }
        if (size_ > entry_.unpacked)
            return refuse(Refusal::docx_bomb, "zip: " + entry_.name + " is larger than it says");
        return {};
    }
    Parsed<void> finish() const {
        if (size_ != entry_.unpacked || crc_ != entry_.crc)
            return damaged(entry_.name + " does not match its checksum");
        return {};
    }

 private:
    const ZipEntry& entry_;
    const ZipLimits& limits_;
    std::uint64_t size_ = 0;
    uLong crc_ = crc32(0, nullptr, 0);
};

}  // namespace

Parsed<Zip> Zip::open(std::string_view bytes, const ZipLimits& limits) {
    const auto where = find_directory(bytes);
    if (!where) return std::unexpected(where.error());
    if (where->entries > limits.entries_max || where->size / k_central_bytes < where->entries) {
        return refuse(Refusal::docx_bomb, "zip: " + std::to_string(where->entries) + " entries");
    }
    Zip zip;
    zip.bytes_ = bytes;
    zip.limits_ = limits;
    const auto directory = bytes.substr(where->offset, where->size);
    std::uint64_t declared = 0;
    std::size_t at = 0;
    while (at < directory.size()) {
        if (zip.entries_.size() == where->entries)
            return refuse(Refusal::docx_bomb, "zip: more entries than it says");
        auto entry = read_record(directory, at);
        if (!entry) return std::unexpected(entry.error());
        declared += entry->unpacked;
        if (declared > limits.declared_bytes_max)
            return refuse(Refusal::docx_bomb, "zip: unpacks to more than 100 MiB");
        if (auto same = check_local(bytes.substr(0, where->offset), *entry); !same)
            return std::unexpected(same.error());
        if (is_forbidden_archive(entry->name, bytes.substr(entry->data, entry->packed))) {
            return refuse(Refusal::docx_unsafe, "zip: an archive within: " + entry->name);
        }
        zip.entries_.push_back(std::move(*entry));
    }
    if (zip.entries_.size() != where->entries) return damaged("fewer entries than it says");
    if (auto apart = check_no_overlap(zip.entries_); !apart) return std::unexpected(apart.error());
    std::ranges::sort(zip.entries_, {}, &ZipEntry::name);
    const auto twin = std::ranges::adjacent_find(zip.entries_, {}, &ZipEntry::name);
    if (twin != zip.entries_.end())
        return refuse(Refusal::docx_unsafe, "zip: two entries are named " + twin->name);
    return zip;
}

const ZipEntry* Zip::find(std::string_view name) const {
    const auto found = std::ranges::lower_bound(
        entries_, name, {}, [](const ZipEntry& e) { return std::string_view(e.name); });
    return found != entries_.end() && found->name == name ? &*found : nullptr;
}

Parsed<void> Zip::inflate(const ZipEntry& entry,
                          const std::function<bool(std::string_view)>& take) const {
    const auto packed = bytes_.substr(entry.data, entry.packed);
    Meter meter(entry, limits_);
    if (entry.method == k_stored) {
        for (std::size_t at = 0; at < packed.size(); at += k_piece_bytes) {
            const auto piece = packed.substr(at, k_piece_bytes);
            if (auto fine = meter.add(piece, at + piece.size()); !fine) return fine;
            if (!take(piece)) return {};
        }
        return meter.finish();
    }
    Inflater inflater;
    if (!inflater.ready) return refuse(Refusal::too_complex, "zlib has no memory");
    auto& stream = inflater.stream;
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    std::array<char, k_piece_bytes> out;
    for (int rc = Z_OK; rc != Z_STREAM_END;) {
        stream.next_out = reinterpret_cast<Bytef*>(out.data());
        stream.avail_out = static_cast<uInt>(out.size());
        rc = ::inflate(&stream, Z_NO_FLUSH);
        const std::string_view piece(out.data(), out.size() - stream.avail_out);
        if (rc != Z_OK && rc != Z_STREAM_END) return damaged(entry.name + " cannot be unpacked");
        if (auto fine = meter.add(piece, packed.size() - stream.avail_in); !fine) return fine;
        if (!piece.empty() && !take(piece)) return {};
    }
    if (stream.avail_in != 0) return damaged(entry.name + " is followed by other data");
    return meter.finish();
}

}  // namespace millrace::workers::embedding::extract
