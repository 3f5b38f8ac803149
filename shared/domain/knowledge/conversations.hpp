#pragma once
// Conversations of the document chatbot: what was said before, and what people do with it.

#include <optional>
#include <string>
#include <vector>

#include "shared/domain/identity/principal.hpp"
#include "shared/domain/knowledge/chats.hpp"

namespace millrace::domain::knowledge {

/// Whose conversation it is. A tenant's widget is one user; whoever knows a conversation's id is
/// its visitor.
struct ConversationKey {
    base::TenantId tenant;
    base::UserId user;
    base::Uuid id;
};

struct Turn {
    std::string role, content;  ///< user | assistant
};

/// What an answer takes from before the question.
struct Background {
    std::vector<Turn> turns;               ///< oldest first, at most three exchanges
    std::optional<std::string> llm_model;  ///< the tenant's choice
};

struct Conversation {
    base::Uuid id;
    std::string title;
    base::WallTime created_at{}, updated_at{};
    std::int64_t messages = 0;
};

struct Message {
    base::Uuid id;  ///< of the job: a question and its answer share it
    std::string role, content;
    std::optional<std::string> sources;  ///< JSON array, of an answer
    std::optional<std::string> trace_id, rating, reason;
    base::WallTime created_at{};
};

struct Feedback {
    base::Uuid message;
    std::optional<base::Uuid> conversation;  ///< where the caller must know it
    std::string rating;                      ///< up | down
    std::optional<std::string> reason;       ///< at most 2000 characters
};
[[nodiscard]] Result<Feedback> decode_feedback(std::string_view body,
                                               std::optional<base::Uuid> message);

class Conversations {
 public:
    explicit Conversations(postgres::Database& app) : app_(app) {}

    /// As it stood when the question of the job `before` was accepted, as far as it was answered.
    Task<Result<Background>> background(ConversationKey key, base::JobId before, Deadline deadline);
    /// Latest first.
    Task<Result<std::vector<Conversation>>> list(base::TenantId tenant, base::UserId user,
                                                 std::int64_t skip, std::int64_t limit,
                                                 Deadline deadline);
    struct Found {
        Conversation conversation;
        std::vector<Message> messages;  ///< oldest first, at most 10,000
    };
    Task<Result<std::optional<Found>>> find(ConversationKey key, Deadline deadline);
    /// False: there is none. What is still being answered in it will not appear.
    Task<Result<bool>> remove(ConversationKey key, Deadline deadline);
    /// False: this user has no such answer.
    Task<Result<bool>> judge(base::TenantId tenant, base::UserId user, Feedback feedback,
                             Deadline deadline);

 private:
    postgres::Database& app_;
};

/// Whether a question leans on the one before it ("And for part-timers?", "それはなぜ？").
[[nodiscard]] bool is_follow_up(std::string_view question);
/// What is searched for: a question that leans on the one before it takes that one along.
[[nodiscard]] std::string searched_question(const std::string& question,
                                            const std::vector<Turn>& turns);

}  // namespace millrace::domain::knowledge
