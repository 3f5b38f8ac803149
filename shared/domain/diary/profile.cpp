#include "shared/domain/diary/profile.hpp"

#include "shared/base/utf8.hpp"
#include "shared/domain/identity/common_passwords.hpp"

namespace millrace::domain::diary {

Profile read_profile(json::Reader& in) {
    Profile out{.name = in.optional_string("name", {1, 100}),
                .icon = in.optional_string("icon", {1, 2048}),
                .occupation = in.optional_string("occupation", {1, 100}),
                .residence = in.optional_string("residence", {1, 100}),
                .age = in.optional_integer("age", 0, 150),
                .ai_public = in.optional_boolean("ai_public").value_or(false),
                .sensitive = in.optional_boolean("sensitive").value_or(true)};
    if (out.icon && !out.icon->starts_with("https://"))
        in.reject("icon", "must be a URL that begins with https://");
    return out;
}

Result<Profile> decode_profile(std::string_view body) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    auto out = read_profile(in);
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

json::Object to_json(const Profile& profile) {
    return {{"name", json::or_null(profile.name)},
            {"icon", json::or_null(profile.icon)},
            {"occupation", json::or_null(profile.occupation)},
            {"age", json::or_null(profile.age)},
            {"residence", json::or_null(profile.residence)},
            {"ai_public", profile.ai_public},
            {"sensitive", profile.sensitive}};
}

bool is_address(std::string_view password, std::string_view email) {
    const auto lower = base::ascii_lower(password);
    const auto address = base::ascii_lower(email);
    return !email.empty() && (lower == address || lower == address.substr(0, address.find('@')));
}

std::string read_new_password(json::Reader& in, std::string_view key, std::string_view email) {
    auto password = in.string(key, {8, 1024});
    if (identity::is_common_password(password))
        in.reject(key, "is one of the passwords that everybody tries first");
    if (is_address(password, email)) in.reject(key, "must not be your e-mail address");
    return password;
}

}  // namespace millrace::domain::diary
