#include "shared/base/crypto.hpp"

#include <openssl/evp.h>
#include <sodium.h>

#include <cstring>

#include "shared/base/result.hpp"

namespace millrace::base {

namespace {
const unsigned char* bytes_of(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

/// OpenSSL uses the processor's own instructions for SHA-256, libsodium does not: four times as
/// fast. Found once: the search by name costs more than a short digest.
const EVP_MD* method() {
    static const EVP_MD* const found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return found;
}
}  // namespace

void crypto_init() {
    check(sodium_init() >= 0, "libsodium initialises");
}

void random_fill(std::uint8_t* out, std::size_t size) {
    static thread_local std::array<std::uint8_t, 16384> pool;
    static thread_local std::size_t used = pool.size();
    if (size > pool.size() / 2) {
        randombytes_buf(out, size);
        return;
    }
    if (used + size > pool.size()) {
        randombytes_buf(pool.data(), pool.size());
        used = 0;
    }
    std::memcpy(out, pool.data() + used, size);
    sodium_memzero(pool.data() + used, size);  // a byte is given out once
    used += size;
}

std::uint32_t random_u32() {
    std::uint32_t out = 0;
    random_fill(reinterpret_cast<std::uint8_t*>(&out), sizeof out);
    return out;
}

std::uint32_t random_below(std::uint32_t bound) {
    check(bound > 0, "a range has at least one value");
    const std::uint32_t biased =
        (0 - bound) % bound;  // 2^32 mod bound: values that would favour some
    for (;;) {
        const auto drawn = random_u32();
        if (drawn >= biased) return drawn % bound;
    }
}

std::string random_token(std::size_t size) {
    std::string raw(size, '\0');
    random_fill(reinterpret_cast<std::uint8_t*>(raw.data()), size);
    return base64url(raw);
}

Digest sha256(std::string_view data) {
    Digest out;
    check(EVP_Digest(data.data(), data.size(), out.data(), nullptr, method(), nullptr) == 1,
          "a digest is made");
    return out;
}

Digest hmac_sha256(std::string_view key, std::string_view data) {
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, bytes_of(key), key.size());
    crypto_auth_hmacsha256_update(&state, bytes_of(data), data.size());
    Digest out;
    crypto_auth_hmacsha256_final(&state, out.data());
    return out;
}

std::string derive_key(std::string_view master, std::string_view purpose) {
    return std::string(view(hmac_sha256(master, purpose)));
}

std::string seal(std::string_view key, std::string_view context, std::string_view plain) {
    check(key.size() == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "a sealing key has 32 bytes");
    constexpr std::size_t nonce_size = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
    std::string out(nonce_size + plain.size() + crypto_aead_xchacha20poly1305_ietf_ABYTES, '\0');
    auto* bytes = reinterpret_cast<unsigned char*>(out.data());
    random_fill(bytes, nonce_size);
    crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + nonce_size, nullptr, bytes_of(plain),
                                               plain.size(), bytes_of(context), context.size(),
                                               nullptr, bytes, bytes_of(key));
    return out;
}

std::optional<std::string> unseal(std::string_view key, std::string_view context,
                                  std::string_view sealed) {
    check(key.size() == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "a sealing key has 32 bytes");
    constexpr std::size_t nonce_size = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
    constexpr std::size_t around = nonce_size + crypto_aead_xchacha20poly1305_ietf_ABYTES;
    if (sealed.size() < around) return std::nullopt;
    std::string out(sealed.size() - around, '\0');
    const auto* bytes = bytes_of(sealed);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(reinterpret_cast<unsigned char*>(out.data()),
                                                   nullptr, nullptr, bytes + nonce_size,
                                                   sealed.size() - nonce_size, bytes_of(context),
                                                   context.size(), bytes, bytes_of(key)) != 0) {
        return std::nullopt;
    }
    return out;
}

bool equal_constant_time(std::string_view a, std::string_view b) noexcept {
    return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

void append_hex(std::string& out, std::string_view bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    auto at = out.size();
    out.resize(at + bytes.size() * 2);
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out[at++] = digits[byte >> 4];
        out[at++] = digits[byte & 15];
    }
}

std::string hex(std::string_view bytes) {
    std::string out;
    append_hex(out, bytes);
    return out;
}

std::string hex(const Digest& digest) {
    return hex(view(digest));
}

namespace {
std::string base64_as(int variant, std::string_view bytes) {
    std::string out(sodium_base64_encoded_len(bytes.size(), variant), '\0');
    sodium_bin2base64(out.data(), out.size(), bytes_of(bytes), bytes.size(), variant);
    out.pop_back();  // the terminating NUL it counts
    return out;
}
}  // namespace

std::string base64(std::string_view bytes) {
    return base64_as(sodium_base64_VARIANT_ORIGINAL, bytes);
}

std::string base64url(std::string_view bytes) {
    return base64_as(sodium_base64_VARIANT_URLSAFE_NO_PADDING, bytes);
}

std::optional<std::string> base64url_decode(std::string_view text) {
    std::string out(text.size() / 4 * 3 + 3, '\0');
    std::size_t size = 0;
    const char* end = nullptr;
    if (sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(),
                          text.size(), nullptr, &size, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        end != text.data() + text.size()) {
        return std::nullopt;
    }
    out.resize(size);
    return out;
}

void Sha256::Free::operator()(evp_md_ctx_st* state) const {
    EVP_MD_CTX_free(state);
}

Sha256::Sha256() : state_(EVP_MD_CTX_new()) {
    check(EVP_DigestInit_ex2(state_.get(), method(), nullptr) == 1, "a digest begins");
}

void Sha256::update(std::string_view data) {
    check(EVP_DigestUpdate(state_.get(), data.data(), data.size()) == 1, "a digest goes on");
}

Digest Sha256::finish() {
    Digest out;
    check(EVP_DigestFinal_ex(state_.get(), out.data(), nullptr) == 1, "a digest is made");
    return out;
}

}  // namespace millrace::base
