#include "tests/support/probe_mail.hpp"

#include <boost/json/parse.hpp>

#include "shared/base/utf8.hpp"
#include "shared/domain/identity/challenges.hpp"
#include "shared/domain/mail/letter.hpp"
#include "shared/json/reader.hpp"

namespace millrace::tests {

using workers::runtime::Attempt;
using workers::runtime::Job;
using workers::runtime::Outcome;

namespace {

struct Ports {
    const events::Catalog& catalog;
    domain::identity::Challenges challenges;
    std::string key;
};

Task<Result<Outcome>> ask(std::shared_ptr<const Ports> ports, Job job, Attempt&) {
    CO_TRY(const auto document, json::parse(job.input));
    auto in = document.reader("input").object("letter");
    domain::mail::Letter letter{
        .name = in.string("template"),
        .locale = in.string("locale"),
        .to = in.string("to"),
        .data = {},
        .secret = in.optional_string("secret").value_or(""),
        .challenge = {},
        .needs_account = in.optional_boolean("needs_account").value_or(false)};
    const auto data = in.raw("data");
    auto challenge = in.optional_object("challenge");
    domain::identity::Challenge wanted{.realm = "probe", .subject = base::ascii_lower(letter.to)};
    if (challenge) {
        wanted.purpose = challenge->string("purpose");
        wanted.lifetime = std::chrono::seconds(challenge->integer("seconds", 1, 86'400));
    }
    if (auto error = in.error()) co_return std::unexpected(std::move(*error));
    letter.data = boost::json::parse(data).as_object();
    std::vector<postgres::Call> effects;
    if (challenge) {
        auto opened = ports->challenges.open_code(wanted);
        letter.secret = std::move(opened.secret);
        letter.challenge = opened.id;
        effects.push_back(std::move(opened.call));
    }
    auto mail = domain::mail::make_job(letter, ports->catalog, ports->key, job.trace, job.tenant,
                                       job.owner);
    auto outcome = workers::runtime::succeed(json::dump(json::Object{{"mail", mail.id.str()}}),
                                             std::move(effects));
    outcome.follow_ups.push_back(std::move(mail));
    co_return outcome;
}

}  // namespace

workers::runtime::Handler probe_mail_handler(const events::Catalog& catalog,
                                             postgres::Database& app, std::string key) {
    domain::identity::Challenges challenges(app, key);
    auto ports = std::make_shared<const Ports>(catalog, std::move(challenges), std::move(key));
    return [ports](Job job, Attempt& attempt) { return ask(ports, std::move(job), attempt); };
}

}  // namespace millrace::tests
