#include "edge/middleware/exchange.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "edge/middleware/client_address.hpp"
#include "shared/base/utf8.hpp"

namespace millrace::edge::middleware {

namespace {

constexpr std::size_t k_client_bytes_max = 200;

bool equals(std::string_view a, std::string_view b) {
    const auto lower = [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
    return std::ranges::equal(a, b, {}, lower, lower);
}
std::vector<RateLimits::Asked> asked_of(const Exchange& exchange, const std::vector<Limit>& which,
                                        const std::string& subject) {
    std::vector<RateLimits::Asked> asked;
    for (const auto& limit : which) {
        asked.push_back({limit, limit.per == Limit::Per::ip     ? limit_key(exchange.client_address)
                                : limit.per == Limit::Per::user ? exchange.who().user.str()
                                                                : subject});
    }
    return asked;
}
}  // namespace

Preference parse_prefer(std::string_view header) {
    Preference out;
    while (!header.empty()) {
        const auto comma = header.find(',');
        const auto item = base::trim(header.substr(0, std::min(comma, header.find(';'))));
        header = comma == std::string_view::npos ? std::string_view{} : header.substr(comma + 1);
        const auto equal = item.find('=');
        const auto name = base::trim(item.substr(0, equal));
        if (equals(name, "respond-async")) out.respond_async = true;
        if (equals(name, "wait") && equal != std::string_view::npos &&
            !out.wait) {  // the first of a repeated preference wins
            auto value = base::trim(item.substr(equal + 1));
            if (value.size() > 1 && value.front() == '"' && value.back() == '"')
                value = value.substr(1, value.size() - 2);
            std::uint32_t seconds = 0;
            const auto [end, ec] =
                std::from_chars(value.data(), value.data() + value.size(), seconds);
            if (ec == std::errc{} && end == value.data() + value.size())
                out.wait = std::chrono::seconds(seconds);
        }
    }
    return out;
}

std::string client_of(const Exchange& exchange) {
    auto client =
        fmt::format("{} {}", exchange.client_address, exchange.request.header("user-agent"));
    client.resize(std::min(client.size(), k_client_bytes_max));
    std::ranges::replace_if(client, [](unsigned char c) { return c < 0x20 || c > 0x7E; }, '?');
    return client;
}

server::Response json_response(int status, std::string body) {
    server::Response response;
    response.status = status;
    response.body = std::move(body);
    return response;
}

Task<Result<void>> take_limits(RateLimits& limits, Exchange& exchange, std::vector<Limit> which,
                               std::string subject) {
    const auto standings =
        co_await limits.take(asked_of(exchange, which, subject), exchange.deadline);
    if (standings.empty()) co_return Result<void>{};
    exchange.standing = standings.back();
    if (!exchange.standing->allowed)
        co_return RateLimits::refusal(*exchange.standing, std::chrono::system_clock::now());
    co_return Result<void>{};
}

Task<Result<void>> forget_limits(RateLimits& limits, Exchange& exchange, std::vector<Limit> which,
                                 std::string subject) {
    return limits.forget(asked_of(exchange, which, subject), exchange.deadline);
}

}  // namespace millrace::edge::middleware
