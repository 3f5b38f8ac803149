#include "shared/domain/mail/post.hpp"

namespace millrace::domain::mail {

Task<Result<void>> mail_secret(Post post, identity::Opened opened, Letter letter,
                               telemetry::TraceContext trace, Deadline deadline) {
    letter.secret = std::move(opened.secret);
    letter.challenge = opened.id;
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(opened.call));
    auto job = make_job(letter, post.catalog, post.key, trace);
    CO_TRY_VOID(co_await jobs::accept_with(post.app, post.publisher, std::move(calls),
                                           std::move(job), deadline));
    co_return Result<void>{};
}

}  // namespace millrace::domain::mail
