#include "shared/domain/mail/post.hpp"

namespace millrace::domain::mail {

Task<Result<std::vector<postgres::Rows>>> post_letter(Post post, Letter letter,
                                                      std::vector<postgres::Call> calls,
                                                      telemetry::TraceContext trace,
                                                      Deadline deadline, base::TenantId tenant,
                                                      base::UserId owner) {
    auto job = make_job(letter, post.catalog, post.key, trace, tenant, owner);
    return jobs::accept_with(post.app, post.publisher, std::move(calls), std::move(job), deadline);
}

Task<Result<void>> mail_secret(Post post, identity::Opened opened, Letter letter,
                               telemetry::TraceContext trace, Deadline deadline) {
    letter.secret = std::move(opened.secret);
    letter.challenge = opened.id;
    std::vector<postgres::Call> calls;
    calls.push_back(std::move(opened.call));
    CO_TRY_VOID(co_await post_letter(post, std::move(letter), std::move(calls), trace, deadline));
    co_return Result<void>{};
}

}  // namespace millrace::domain::mail
