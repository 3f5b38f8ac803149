#include "shared/domain/identity/challenges.hpp"

#include <fmt/format.h>

#include "shared/base/crypto.hpp"

namespace millrace::domain::identity {

namespace {

using postgres::Statement;

const Statement k_open{"challenges_open",
                       "SELECT open_challenge($1, $2, $3, $4, $5, $6, $7, $8, $9)"};
const Statement k_try{
    "challenges_try",
    "SELECT outcome, left_over, account, more FROM try_challenge($1, $2, $3, $4)"};
const Statement k_use{"challenges_use",
                      "SELECT id, realm, subject, account, more FROM use_challenge($1, $2, $3)"};

std::string mac_of(std::string_view key, std::string_view text) {
    return std::string(base::view(base::hmac_sha256(key, text)));
}

}  // namespace

Challenges::Challenges(postgres::Database& app, std::string_view key)
    : app_(app), key_(base::derive_key(key, "challenges")) {}

std::string Challenges::code_mac(std::string_view realm, std::string_view purpose,
                                 std::string_view subject, std::string_view code) const {
    // A code alone has a million values: its MAC is bound to whom and what it is for.
    return mac_of(key_, fmt::format("code\n{}\n{}\n{}\n{}", realm, purpose, subject, code));
}

std::string Challenges::link_mac(std::string_view purpose, std::string_view token) const {
    return mac_of(key_, fmt::format("link\n{}\n{}", purpose, token));
}

Opened Challenges::open(const Challenge& c, std::string secret, const std::string& mac) const {
    const auto id = base::uuid_v7();
    return {
        .id = id,
        .secret = std::move(secret),
        .call = postgres::call(k_open, id, c.realm, c.purpose, c.subject, c.user,
                               postgres::Bytes{mac}, std::int32_t{c.tries},
                               static_cast<double>(c.lifetime.count()), postgres::Jsonb{c.data})};
}

Opened Challenges::open_code(const Challenge& c) const {
    auto code = fmt::format("{:06}", base::random_below(1'000'000));
    const auto mac = code_mac(c.realm, c.purpose, c.subject, code);
    return open(c, std::move(code), mac);
}

Opened Challenges::open_link(const Challenge& c) const {
    auto token = base::random_token();
    const auto mac = link_mac(c.purpose, token);
    return open(c, std::move(token), mac);
}

postgres::Call Challenges::try_code_call(std::string_view realm, std::string_view purpose,
                                         std::string_view subject, std::string_view code) const {
    return postgres::call(k_try, realm, purpose, subject,
                          postgres::Bytes{code_mac(realm, purpose, subject, code)});
}

Task<Result<Tried>> Challenges::try_code(std::string realm, std::string purpose,
                                         std::string subject, std::string code, Deadline deadline) {
    CO_TRY(const auto rows,
           co_await app_.run(try_code_call(realm, purpose, subject, code), deadline));
    co_return tried(rows);
}

Tried Challenges::tried(const postgres::Rows& rows) {
    const auto row = rows[0];
    const auto outcome = row.get<std::string_view>(0);
    Tried tried{.outcome = Tried::Outcome::gone,
                .left = row.get<std::int32_t>(1),
                .user = row.get<std::optional<base::UserId>>(2),
                .data = row.get<std::string>(3)};
    if (outcome == "right") tried.outcome = Tried::Outcome::right;
    if (outcome == "wrong") tried.outcome = Tried::Outcome::wrong;
    return tried;
}

postgres::Call Challenges::use_link_call(std::string_view purpose, std::string_view token) const {
    return postgres::call(k_use, purpose, postgres::Bytes{link_mac(purpose, token)}, true);
}

std::optional<Redeemed> Challenges::redeemed(const postgres::Rows& rows) {
    if (rows.empty()) return std::nullopt;
    const auto row = rows[0];
    return Redeemed{.id = row.get<base::Uuid>(0),
                    .realm = row.get<std::string>(1),
                    .subject = row.get<std::string>(2),
                    .user = row.get<std::optional<base::UserId>>(3),
                    .data = row.get<std::string>(4)};
}

Task<Result<std::optional<Redeemed>>> Challenges::see_link(std::string purpose, std::string token,
                                                           Deadline deadline) {
    const auto mac = link_mac(purpose, token);
    CO_TRY(
        const auto rows,
        co_await app_.run(postgres::call(k_use, purpose, postgres::Bytes{mac}, false), deadline));
    co_return redeemed(rows);
}

}  // namespace millrace::domain::identity
