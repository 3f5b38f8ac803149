#pragma once
// What a person of the diary says about themselves, and the rules of their password.

#include <optional>
#include <string>
#include <string_view>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::diary {

struct Profile {
    std::optional<std::string> name, icon, occupation, residence;
    std::optional<std::int64_t> age;
    bool ai_public = false;  ///< others may talk with what the AI learns from this diary
    bool sensitive = true;   ///< the diary is checked for matter that should not become public
};

/// Every member is optional; the first that is wrong is the reader's error.
[[nodiscard]] Profile read_profile(json::Reader& in);
[[nodiscard]] Result<Profile> decode_profile(std::string_view body);
[[nodiscard]] json::Object to_json(const Profile& profile);

/// Whether somebody chose the own address, or what stands before its @, as the password.
[[nodiscard]] bool is_address(std::string_view password, std::string_view email);
/// A password that may be chosen for the account of `email`: at least 8 characters, none of the
/// commonest, not the address itself.
[[nodiscard]] std::string read_new_password(json::Reader& in, std::string_view key,
                                            std::string_view email);

}  // namespace millrace::domain::diary
