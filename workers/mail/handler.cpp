#include "workers/mail/handler.hpp"

#include "shared/json/writer.hpp"
#include "workers/mail/templates.hpp"

namespace millrace::workers::mail {

using domain::mail::Letter;
using runtime::Attempt;
using runtime::Job;
using runtime::Outcome;

namespace {

const postgres::Statement k_open{"mail_challenge_open", "SELECT challenge_open($1, $2)"};

Outcome not_sent(std::string_view why) {
    return runtime::succeed(json::dump(json::Object{{"sent", false}, {"why", why}}));
}

/// Whether somebody still waits for it.
Task<Result<bool>> is_wanted(postgres::Database& app, const Letter& letter, Deadline deadline) {
    if (!letter.challenge) co_return true;
    CO_TRY(const auto rows,
           co_await app.run(postgres::call(k_open, *letter.challenge, letter.needs_account),
                            deadline));
    co_return rows[0].get<bool>(0);
}

Task<Result<Outcome>> handle(std::shared_ptr<const Ports> ports, Job job, Attempt& attempt) {
    // Sealed for the job that first asked for it, whose mail a repetition is.
    CO_TRY(const auto letter, domain::mail::parse_letter(job.input, job.origin_id, ports->keys));
    CO_TRY(auto rendered, render(letter));
    CO_TRY(auto message, providers::mail::compose({.id = job.origin_id.str(),
                                                   .from = ports->from,
                                                   .to = letter.to,
                                                   .subject = std::move(rendered.subject),
                                                   .text = std::move(rendered.text),
                                                   .html = std::move(rendered.html),
                                                   .locale = letter.locale,
                                                   .template_name = letter.name,
                                                   .date = std::chrono::system_clock::now()}));
    if (job.shadow) co_return not_sent("a shadow run sends nothing");
    CO_TRY(const bool wanted, co_await is_wanted(ports->app, letter, attempt.deadline()));
    if (!wanted) co_return not_sent("its code or link is no longer open");
    CO_TRY_VOID(co_await ports->sender.send(std::move(message), attempt.deadline()));
    co_return runtime::succeed(json::dump(json::Object{{"sent", true}}));
}

}  // namespace

runtime::Handler make_send_handler(Ports ports) {
    return [shared = std::make_shared<const Ports>(std::move(ports))](Job job, Attempt& attempt) {
        return handle(shared, std::move(job), attempt);
    };
}

}  // namespace millrace::workers::mail
