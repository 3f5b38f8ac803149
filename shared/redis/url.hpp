#pragma once
#include <string>
#include <string_view>

#include "shared/base/result.hpp"

namespace millrace::redis {

struct Address {
    std::string host = "127.0.0.1", unix_path, password;
    int port = 6379;
    int database = 0;
};
/// redis://[:password@]host[:port][/db] or unix:///path; `invalid` otherwise.
[[nodiscard]] Result<Address> parse_url(std::string_view url);

}  // namespace millrace::redis
