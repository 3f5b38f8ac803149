#include "shared/domain/knowledge/chats.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

const Statement k_conversation{"conversations_touch", R"sql(
INSERT INTO conversations (tenant_id, user_id, id) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, user_id, id) DO UPDATE SET updated_at = now())sql"};
const Statement k_message{"messages_insert", R"sql(
INSERT INTO messages (tenant_id, user_id, conversation_id, job_id, role, content) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING)sql"};

constexpr std::size_t k_query_max = 1000;
constexpr int k_top_k_max = 20;
constexpr int k_max_tokens_max = 8192;

bool is_blank(std::string_view text) {
    // The ideographic space is three bytes; whatever is left of them decides.
    std::string rest(text);
    for (std::size_t at = 0; (at = rest.find("\u3000", at)) != std::string::npos;)
        rest.erase(at, 3);
    return std::ranges::all_of(rest, [](unsigned char c) { return c <= 0x20; });
}

}  // namespace

std::string to_json(const AnswerRequested& event) {
    json::Object out{{"query", event.query},
                     {"conversation_id", event.conversation.str()},
                     {"top_k", event.top_k},
                     {"temperature", event.temperature},
                     {"max_tokens", event.max_tokens}};
    if (event.model) out["model"] = *event.model;
    return json::dump(out);
}

Result<AnswerRequested> parse_answer_requested(std::string_view text) {
    TRY(const auto document, json::parse(text));
    auto in = document.reader();
    AnswerRequested out{
        .query = in.string("query", {1, k_query_max}),
        .conversation = in.uuid("conversation_id"),
        .model = in.optional_string("model", {1, 100}),
        .top_k = static_cast<int>(in.integer("top_k", 1, k_top_k_max)),
        .temperature = in.number("temperature", 0, 2),
        .max_tokens = static_cast<int>(in.integer("max_tokens", 1, k_max_tokens_max))};
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<AnswerRequested> decode_question(std::string_view body, const identity::Principal& who,
                                        const std::vector<std::string>& models) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    AnswerRequested out{
        .query = in.string("query", {1, k_query_max}),
        .conversation = {},
        .model = in.optional_string("model", {1, 100}),
        .top_k = static_cast<int>(in.optional_integer("top_k", 1, k_top_k_max).value_or(5)),
        .temperature = in.optional_number("temperature", 0, 2).value_or(0.7),
        .max_tokens =
            static_cast<int>(in.optional_integer("max_tokens", 1, k_max_tokens_max).value_or(500))};
    const auto session = in.optional_string("session_id", {1, 200});
    if (is_blank(out.query)) in.reject("query", "must not be blank");
    if (out.model && std::ranges::find(models, *out.model) == models.end()) {
        in.reject("model", fmt::format("must be one of: {}", fmt::join(models, ", ")));
    }
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    const auto given = session ? base::Uuid::parse(*session) : std::nullopt;
    out.new_conversation = !session;
    out.conversation = given     ? *given
                       : session ? base::named_uuid(who.user.str() + "\n" + *session)
                                 : base::uuid_v7();
    return out;
}

std::vector<postgres::Call> record_exchange(base::TenantId tenant, base::UserId user,
                                            base::JobId job, const AnswerRequested& question,
                                            std::string_view answer) {
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_conversation, tenant, user, question.conversation));
    calls.push_back(postgres::call(k_message, tenant, user, question.conversation, job, "user",
                                   question.query));
    calls.push_back(
        postgres::call(k_message, tenant, user, question.conversation, job, "assistant", answer));
    return calls;
}

}  // namespace millrace::domain::knowledge
