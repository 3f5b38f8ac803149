#pragma once
// Randomness, digests and encodings, over libsodium and OpenSSL. Every process calls crypto_init()
// once, first.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace millrace::base {

using Digest = std::array<std::uint8_t, 32>;
/// Its bytes; valid as long as the digest.
[[nodiscard]] inline std::string_view view(const Digest& digest) {
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

/// Aborts if the system has no randomness. Safe to call again.
void crypto_init();

/// Cryptographic randomness from a ChaCha20 stream reseeded per process (a system call only every
/// 16 KiB). One thread each.
void random_fill(std::uint8_t* out, std::size_t size);
[[nodiscard]] std::uint32_t random_u32();
/// `size` random bytes as unpadded base64url text.
[[nodiscard]] std::string random_token(std::size_t size = 32);

[[nodiscard]] Digest sha256(std::string_view data);
[[nodiscard]] Digest hmac_sha256(std::string_view key, std::string_view data);
/// Constant time in the length of the shorter; false at once when the lengths differ.
[[nodiscard]] bool equal_constant_time(std::string_view a, std::string_view b) noexcept;

[[nodiscard]] std::string hex(std::string_view bytes);
void append_hex(std::string& out, std::string_view bytes);
[[nodiscard]] std::string hex(const Digest& digest);
/// RFC 4648 §4, with padding.
[[nodiscard]] std::string base64(std::string_view bytes);
/// RFC 4648 §5 without padding, as JWT uses it; decoding refuses any other spelling of the same
/// bytes.
[[nodiscard]] std::string base64url(std::string_view bytes);
[[nodiscard]] std::optional<std::string> base64url_decode(std::string_view text);

/// A key for one purpose from a master key (HMAC-SHA-256 of the purpose's name): two purposes never
/// share one.
[[nodiscard]] std::string derive_key(std::string_view master, std::string_view purpose);

/// XChaCha20-Poly1305 with a random nonce in front. `context` is authenticated with it: what was
/// sealed for one row, column or tenant opens nowhere else. `key`: 32 bytes.
[[nodiscard]] std::string seal(std::string_view key, std::string_view context,
                               std::string_view plain);
/// nullopt when the key, the context or a byte is another.
[[nodiscard]] std::optional<std::string> unseal(std::string_view key, std::string_view context,
                                                std::string_view sealed);

/// Uniform in [0, bound).
[[nodiscard]] std::uint32_t random_below(std::uint32_t bound);

/// Incremental SHA-256 for streams.
class Sha256 {
 public:
    Sha256();
    void update(std::string_view data);
    [[nodiscard]] Digest finish();

 private:
    struct Free {
        void operator()(evp_md_ctx_st* state) const;
    };
    std::unique_ptr<evp_md_ctx_st, Free> state_;
};

}  // namespace millrace::base
