#include "shared/domain/mail/letter.hpp"

#include <boost/json/parse.hpp>

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"

namespace millrace::domain::mail {

namespace {

constexpr std::string_view k_purpose = "mail secrets";

std::string context_of(base::JobId job) {
    return "mail.send " + job.str();
}

}  // namespace

jobs::NewJob make_job(const Letter& letter, const events::Catalog& catalog, std::string_view key,
                      telemetry::TraceContext trace, base::TenantId tenant, base::UserId owner) {
    jobs::NewJob job{.tenant = tenant,
                     .owner = owner,
                     .kind = catalog.kind("mail.send"),
                     .lane = "interactive",
                     .order_key = {},
                     .trace = trace,
                     .input = {}};
    check(job.kind != nullptr, "the catalog has mail.send");
    json::Object input{{"template", letter.name},
                       {"locale", letter.locale},
                       {"to", letter.to},
                       {"data", letter.data}};
    if (!letter.secret.empty()) {
        input["secret"] = base::base64url(
            base::seal(base::derive_key(key, k_purpose), context_of(job.id), letter.secret));
    }
    if (letter.challenge) input["challenge_id"] = letter.challenge->str();
    if (letter.needs_account) input["needs_account"] = true;
    job.input = json::dump(input);
    return job;
}

Result<Letter> parse_letter(std::string_view input, base::JobId job,
                            const std::vector<std::string>& keys) {
    TRY(const auto document, json::parse(input));
    auto in = document.reader();
    Letter letter{.name = in.string("template", {1, 64}),
                  .locale = in.string("locale", {2, 2}),
                  .to = in.string("to", {3, 254}),
                  .data = {},
                  .secret = {},
                  .challenge = in.optional_uuid("challenge_id"),
                  .needs_account = in.optional_boolean("needs_account").value_or(false)};
    const auto data = in.raw("data");
    const auto sealed = in.optional_string("secret", {1, 4096});
    if (letter.locale != "ja" && letter.locale != "en") in.reject("locale", "must be ja or en");
    if (data.empty() || data.front() != '{') in.reject("data", "must be an object");
    // Who it is for is known of the challenge alone.
    if (letter.needs_account && !letter.challenge) in.reject("needs_account", "needs challenge_id");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    letter.data = boost::json::parse(data).as_object();
    if (!sealed) return letter;
    const auto bytes = base::base64url_decode(*sealed);
    for (const auto& key : keys) {
        auto plain = bytes ? base::unseal(base::derive_key(key, k_purpose), context_of(job), *bytes)
                           : std::nullopt;
        if (plain) {
            letter.secret = std::move(*plain);
            return letter;
        }
    }
    return fail(ErrorCode::invalid, "secret: was not sealed for this job", {.field = "secret"});
}

}  // namespace millrace::domain::mail
