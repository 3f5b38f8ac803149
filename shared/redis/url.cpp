#include "shared/redis/url.hpp"

#include <charconv>

namespace millrace::redis {

Result<Address> parse_url(std::string_view url) {
    const auto bad =
        fail(ErrorCode::invalid,
             "the Redis URL must look like redis://[:password@]host[:port][/db] or unix:///path");
    Address out;
    if (url.starts_with("unix://")) {
        out.unix_path = url.substr(7);
        if (out.unix_path.empty()) return bad;
        return out;
    }
    if (!url.starts_with("redis://")) return bad;
    url.remove_prefix(8);
    const auto number = [](std::string_view text, int max, int& into) {
        const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), into);
        return ec == std::errc{} && end == text.data() + text.size() && into >= 0 && into <= max;
    };
    if (const auto slash = url.find('/'); slash != std::string_view::npos) {
        const auto db = url.substr(slash + 1);
        if (!db.empty() && !number(db, 1023, out.database)) return bad;
        url = url.substr(0, slash);
    }
    if (const auto at = url.rfind('@'); at != std::string_view::npos) {
        const auto user_info = url.substr(0, at);
        const auto colon = user_info.find(':');
        out.password = user_info.substr(colon == std::string_view::npos ? 0 : colon + 1);
        url = url.substr(at + 1);
    }
    if (const auto colon = url.rfind(':'); colon != std::string_view::npos && !url.ends_with(']')) {
        if (!number(url.substr(colon + 1), 65535, out.port)) return bad;
        url = url.substr(0, colon);
    }
    if (url.empty()) return bad;
    out.host = url;
    return out;
}

}  // namespace millrace::redis
