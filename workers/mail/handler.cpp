#include "workers/mail/handler.hpp"

#include <fmt/format.h>

#include "shared/base/failpoint.hpp"
#include "shared/json/writer.hpp"
#include "shared/telemetry/log.hpp"
#include "workers/mail/templates.hpp"

namespace millrace::workers::mail {

using domain::mail::Letter;
using providers::mail::Handed;
using providers::mail::Message;
using runtime::Attempt;
using runtime::Job;
using runtime::Outcome;
using Verdict = Deliveries::Verdict;
using State = Deliveries::State;

namespace {

const postgres::Statement k_open{"mail_challenge_open", "SELECT challenge_open($1, $2)"};

constexpr auto k_note_timeout = std::chrono::seconds(3);
constexpr auto k_margin = std::chrono::seconds(1);  // between the end of one delivery and the next

Outcome sent() {
    return runtime::succeed(json::dump(json::Object{{"sent", true}}));
}

Outcome not_sent(std::string_view why) {
    return runtime::succeed(json::dump(json::Object{{"sent", false}, {"why", why}}));
}

std::unexpected<Error> try_again(std::string log,
                                 std::optional<std::chrono::seconds> after = std::nullopt) {
    return fail(ErrorCode::unavailable, "the mail cannot be sent at the moment",
                {.log = std::move(log), .retry_after = after});
}

/// One letter being sent.
class Sending {
 public:
    Sending(Ports& ports, Job job, Attempt& attempt)
        : ports_(ports), job_(std::move(job)), attempt_(attempt) {}

    Task<Result<Outcome>> run() {
        // Sealed for the job that first asked for it, whose mail a repetition is.
        CO_TRY(const auto letter,
               domain::mail::parse_letter(job_.input, job_.origin_id, ports_.keys));
        CO_TRY(auto message, compose(letter));
        if (job_.shadow) co_return not_sent("a shadow run sends nothing");
        CO_TRY(const bool wanted, co_await is_wanted(letter));
        if (!wanted) co_return not_sent("its code or link is no longer open");
        if (ports_.sender.repeats_are_harmless()) {
            CO_TRY_VOID(co_await ports_.sender.send(std::move(message), attempt_.deadline()));
            co_return sent();
        }
        co_return co_await send_once(std::move(message));
    }

 private:
    [[nodiscard]] Result<Message> compose(const Letter& letter) const {
        TRY(auto rendered, render(letter));
        return providers::mail::compose({.id = job_.origin_id.str(),
                                         .from = ports_.from,
                                         .to = letter.to,
                                         .subject = std::move(rendered.subject),
                                         .text = std::move(rendered.text),
                                         .html = std::move(rendered.html),
                                         .locale = letter.locale,
                                         .template_name = letter.name,
                                         .date = std::chrono::system_clock::now()});
    }

    /// Whether somebody still waits for it.
    Task<Result<bool>> is_wanted(const Letter& letter) {
        if (!letter.challenge) co_return true;
        CO_TRY(const auto rows, co_await ports_.app.run(
                                    postgres::call(k_open, *letter.challenge, letter.needs_account),
                                    attempt_.deadline()));
        co_return rows[0].get<bool>(0);
    }

    Task<Result<Outcome>> send_once(Message message) {
        const auto until = attempt_.deadline().capped(ports_.delivery_max);
        const auto patience = ports_.delivery_max + k_margin;
        CO_TRY(const auto verdict,
               co_await ports_.deliveries.begin(job_.origin_id, job_.tenant, patience, until));
        switch (verdict) {
            case Verdict::sent:
                co_return sent();
            case Verdict::given_up:
                co_return give_up();
            case Verdict::wait:
                co_return try_again("another attempt may still be sending it",
                                    std::chrono::ceil<std::chrono::seconds>(patience));
            case Verdict::go:
                break;
        }
        const auto handed = co_await ports_.sender.send(std::move(message), until);
        base::failpoint::at("mail.handed");
        if (!handed) co_return co_await not_taken(handed.error());
        if (*handed == Handed::taken) {
            // A note that is lost makes the outcome unknown to the next attempt, if there is one.
            co_await note(State::sent, "");
            co_return sent();
        }
        co_await note(State::unknown, "the server did not say whether it took the mail");
        co_return try_again("the server did not say whether it took the mail");
    }

    Task<Result<Outcome>> not_taken(const Error& error) {
        const bool refused = !base::is_transient(error.code);
        co_await note(refused ? State::refused : State::unsent, error.log);
        if (!refused) co_return std::unexpected(error);
        telemetry::log::warning("a mail was refused",
                                {{"job_id", job_.id.str()}, {"why", error.log}});
        co_return runtime::fail_for_good(error.reason, error.detail);
    }

    /// For a person: the recipient may have it once, twice or not at all.
    [[nodiscard]] Outcome give_up() const {
        telemetry::log::error("twice nobody saw whether the server took a mail",
                              {{"job_id", job_.id.str()}, {"message_id", job_.origin_id.str()}});
        return runtime::fail_for_good("MAIL_DELIVERY_UNKNOWN",
                                      "twice the mail server did not say whether it took the mail");
    }

    Task<void> note(State state, std::string cause) {
        const auto noted = co_await ports_.deliveries.note(
            job_.origin_id, job_.tenant, state, std::move(cause), Deadline::in(k_note_timeout));
        if (!noted)
            telemetry::log::warning("what became of a mail is not written down",
                                    {{"job_id", job_.id.str()}, {"why", noted.error().log}});
    }

    Ports& ports_;
    const Job job_;
    Attempt& attempt_;
};

}  // namespace

runtime::Handler make_send_handler(Ports ports) {
    return runtime::handler_of<Sending>(std::move(ports));
}

}  // namespace millrace::workers::mail
