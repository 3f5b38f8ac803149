#pragma once
// Questions and their conversations (contract knowledge.md §3.2, §5.2).

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/identity/principal.hpp"
#include "shared/domain/jobs/job.hpp"
#include "shared/domain/knowledge/search.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::knowledge {

/// What is asked; the event's data (millrace.answer.requested.v1).
struct AnswerRequested {
    std::string query;  ///< 1 to 1000 characters
    base::Uuid conversation;
    std::optional<std::string> model;  ///< an alias
    int top_k = 5;
    double temperature = 0.7;
    int max_tokens = 500;
    SearchFilter filter;
    bool new_conversation =
        false;  ///< the client named none: the id is ours (not part of the event)
};
[[nodiscard]] std::string to_json(const AnswerRequested& event);
[[nodiscard]] Result<AnswerRequested> parse_answer_requested(std::string_view json);

/// The contract's request body. `session_id` and `conversation_id` are the same thing; a session id
/// that is no UUID names a conversation of this user all the same, always the same one. `models`:
/// the names that `model` may have. `visitor` tells those apart who share one user: a name that one
/// of them gives is nobody else's.
[[nodiscard]] Result<AnswerRequested> decode_question(std::string_view body,
                                                      const identity::Principal& who,
                                                      const std::vector<std::string>& models,
                                                      std::string_view visitor = {});

struct Answered {
    base::TenantId tenant;
    base::UserId user;
    base::JobId job;
    base::WallTime asked_at{};
    std::string answer, sources;  ///< sources: JSON
    std::string trace_id;
};
/// Effects of an answered question: the conversation and both messages, unless the conversation was
/// deleted after it was asked.
[[nodiscard]] std::vector<postgres::Call> record_exchange(const AnswerRequested& question,
                                                          const Answered& answered);

}  // namespace millrace::domain::knowledge
