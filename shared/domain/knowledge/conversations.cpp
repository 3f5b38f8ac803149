#include "shared/domain/knowledge/conversations.hpp"

#include <algorithm>
#include <array>

#include "shared/base/utf8.hpp"
#include "shared/domain/knowledge/question.hpp"
#include "shared/json/reader.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

constexpr std::size_t k_follow_up_words_max = 2;
constexpr std::size_t k_reason_max = 2000;

const Statement k_turns{"conversation_turns", R"sql(
SELECT role, content FROM messages WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3 AND job_id < $4
 ORDER BY created_at DESC, role LIMIT 6)sql"};
const Statement k_model{"conversation_model",
                        "SELECT settings ->> 'llm_model' FROM tenants WHERE id = $1"};
#define MILLRACE_CONVERSATION_COLUMNS                                                            \
    "c.id, coalesce(c.title, ''), c.created_at, c.updated_at, (SELECT count(*) FROM messages m " \
    "WHERE m.tenant_id = c.tenant_id AND m.user_id = c.user_id AND m.conversation_id = c.id)"
const Statement k_list{"conversation_list", "SELECT " MILLRACE_CONVERSATION_COLUMNS R"sql(
  FROM conversations c WHERE c.tenant_id = $1 AND c.user_id = $2 AND c.deleted_at IS NULL
 ORDER BY c.updated_at DESC, c.id DESC OFFSET $3 LIMIT $4)sql"};
const Statement k_find{"conversation_find", "SELECT " MILLRACE_CONVERSATION_COLUMNS R"sql(
  FROM conversations c WHERE c.tenant_id = $1 AND c.user_id = $2 AND c.id = $3 AND c.deleted_at IS NULL)sql"};
const Statement k_messages{"conversation_messages", R"sql(
SELECT m.job_id, m.role, m.content, m.sources, m.trace_id, f.rating, f.reason, m.created_at
  FROM messages m LEFT JOIN feedback f ON f.tenant_id = m.tenant_id AND f.message_id = m.job_id AND m.role = 'assistant'
 WHERE m.tenant_id = $1 AND m.user_id = $2 AND m.conversation_id = $3 ORDER BY m.created_at, m.role DESC LIMIT 10000)sql"};
const Statement k_remove{"conversation_remove", R"sql(
UPDATE conversations SET deleted_at = now(), title = NULL WHERE tenant_id = $1 AND user_id = $2 AND id = $3 AND deleted_at IS NULL)sql"};
const Statement k_remove_messages{"conversation_remove_messages", R"sql(
WITH judged AS (DELETE FROM feedback WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3)
DELETE FROM messages WHERE tenant_id = $1 AND user_id = $2 AND conversation_id = $3)sql"};
const Statement k_judge{"conversation_judge", R"sql(
INSERT INTO feedback (tenant_id, user_id, conversation_id, message_id, rating, reason, trace_id)
SELECT m.tenant_id, m.user_id, m.conversation_id, m.job_id, $4, $5, m.trace_id FROM messages m
 WHERE m.tenant_id = $1 AND m.user_id = $2 AND m.job_id = $3 AND m.role = 'assistant' AND ($6::uuid IS NULL OR m.conversation_id = $6)
ON CONFLICT (tenant_id, message_id) DO UPDATE SET rating = excluded.rating, reason = excluded.reason, created_at = now())sql"};

/// How questions begin, or what they say, that mean something said before.
constexpr std::array<std::string_view, 23> k_japanese = {
    "それ", "その",   "そこ",   "そう", "これ",     "この", "ここ",  "あれ",
    "あの", "彼",     "同じ",   "では", "じゃあ",   "だと", "なら",  "ちなみに",
    "他に", "ほかに", "もっと", "なぜ", "どうして", "例外", "具体的"};
constexpr std::array<std::string_view, 17> k_english = {
    "and ",  "but ",  "or ",    "so ",    "then ", "what about", "how about", "why",  "it ",
    "they ", "that ", "those ", "these ", "this ", "he ",        "she ",      "also "};
constexpr std::array<std::string_view, 8> k_pronouns = {" it ",   " it?",   " they ",  " them ",
                                                        " them?", " that?", " those ", " its "};

Conversation conversation_of(const postgres::Row& row) {
    return {.id = row.get<base::Uuid>(0),
            .title = row.get<std::string>(1),
            .created_at = row.get<base::WallTime>(2),
            .updated_at = row.get<base::WallTime>(3),
            .messages = row.get<std::int64_t>(4)};
}

}  // namespace

Result<Feedback> decode_feedback(std::string_view body, std::optional<base::Uuid> message) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    Feedback out{.message = message ? *message : in.uuid("message_id"),
                 .conversation = std::nullopt,
                 .rating = in.string("rating", {1, 10}),
                 .reason = in.optional_string("reason", {1, k_reason_max})};
    if (!message) out.conversation = in.uuid("conversation_id");
    if (out.rating != "up" && out.rating != "down") in.reject("rating", "must be up or down");
    if (out.reason && out.reason->find('\0') != std::string::npos)
        in.reject("reason", "must not contain NUL");
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Task<Result<Background>> Conversations::background(ConversationKey key, base::JobId before,
                                                   Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(key.tenant));
    calls.push_back(postgres::call(k_turns, key.tenant, key.user, key.id, before));
    calls.push_back(postgres::call(k_model, key.tenant));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    Background out;
    for (std::size_t r = results[1].size(); r > 0; --r)
        out.turns.push_back(
            {results[1][r - 1].get<std::string>(0), results[1][r - 1].get<std::string>(1)});
    if (!results[2].empty()) out.llm_model = results[2][0].get<std::optional<std::string>>(0);
    co_return out;
}

Task<Result<std::vector<Conversation>>> Conversations::list(base::TenantId tenant,
                                                            base::UserId user, std::int64_t skip,
                                                            std::int64_t limit, Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant, postgres::call(k_list, tenant, user, skip, limit), deadline));
    std::vector<Conversation> out;
    for (std::size_t r = 0; r < results.size(); ++r) out.push_back(conversation_of(results[r]));
    co_return out;
}

Task<Result<std::optional<Conversations::Found>>> Conversations::find(ConversationKey key,
                                                                      Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(key.tenant));
    calls.push_back(postgres::call(k_find, key.tenant, key.user, key.id));
    calls.push_back(postgres::call(k_messages, key.tenant, key.user, key.id));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    if (results[1].empty()) co_return std::nullopt;
    Found out{.conversation = conversation_of(results[1][0]), .messages = {}};
    for (std::size_t r = 0; r < results[2].size(); ++r) {
        const auto row = results[2][r];
        out.messages.push_back({.id = row.get<base::Uuid>(0),
                                .role = row.get<std::string>(1),
                                .content = row.get<std::string>(2),
                                .sources = row.get<std::optional<std::string>>(3),
                                .trace_id = row.get<std::optional<std::string>>(4),
                                .rating = row.get<std::optional<std::string>>(5),
                                .reason = row.get<std::optional<std::string>>(6),
                                .created_at = row.get<base::WallTime>(7)});
    }
    co_return out;
}

Task<Result<bool>> Conversations::remove(ConversationKey key, Deadline deadline) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::set_tenant(key.tenant));
    calls.push_back(postgres::call(k_remove, key.tenant, key.user, key.id));
    calls.push_back(postgres::call(k_remove_messages, key.tenant, key.user, key.id));
    CO_TRY(const auto results, co_await app_.transaction(std::move(calls), deadline));
    co_return results[1].affected() > 0;
}

Task<Result<bool>> Conversations::judge(base::TenantId tenant, base::UserId user, Feedback feedback,
                                        Deadline deadline) {
    CO_TRY(const auto results,
           co_await postgres::in_tenant(
               app_, tenant,
               postgres::call(k_judge, tenant, user, feedback.message, feedback.rating,
                              feedback.reason, feedback.conversation),
               deadline));
    co_return results.affected() > 0;
}

bool is_follow_up(std::string_view question) {
    const auto text = base::ascii_lower(base::trim(question));
    const auto begins = [&text](std::string_view with) { return text.starts_with(with); };
    const auto says = [&text](std::string_view word) {
        return text.find(word) != std::string::npos;
    };
    if (std::ranges::any_of(k_japanese, begins) || std::ranges::any_of(k_english, begins) ||
        std::ranges::any_of(k_pronouns, says))
        return true;
    return read_question(question, {}).words.size() < k_follow_up_words_max;
}

std::string searched_question(const std::string& question, const std::vector<Turn>& turns) {
    if (turns.empty() || !is_follow_up(question)) return question;
    const auto before = std::ranges::find(turns.rbegin(), turns.rend(), "user", &Turn::role);
    return before == turns.rend() ? question : before->content + "\n" + question;
}

}  // namespace millrace::domain::knowledge
