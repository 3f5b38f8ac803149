#include "shared/domain/knowledge/chats.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/utf8.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"

namespace millrace::domain::knowledge {

namespace {

using postgres::Statement;

const Statement k_conversation{"conversations_touch", R"sql(
INSERT INTO conversations AS c (tenant_id, user_id, id, title) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, user_id, id) DO UPDATE SET updated_at = now(), deleted_at = NULL, title = coalesce(c.title, excluded.title)
 WHERE c.deleted_at IS NULL OR c.deleted_at < $5)sql"};
const Statement k_message{"messages_insert", R"sql(
INSERT INTO messages (tenant_id, user_id, conversation_id, job_id, role, content, sources, trace_id)
SELECT c.tenant_id, c.user_id, c.id, $4, $5, $6, $7, $8 FROM conversations c
 WHERE c.tenant_id = $1 AND c.user_id = $2 AND c.id = $3 AND c.deleted_at IS NULL
ON CONFLICT DO NOTHING)sql"};

constexpr std::size_t k_query_max = 1000;
constexpr std::size_t k_title_max = 240;  // bytes
constexpr std::size_t k_filter_max = 50;
constexpr int k_top_k_max = 20;
constexpr int k_max_tokens_max = 8192;

bool is_blank(std::string_view text) {
    // The ideographic space is three bytes; whatever is left of them decides.
    std::string rest(text);
    for (std::size_t at = 0; (at = rest.find("\u3000", at)) != std::string::npos;)
        rest.erase(at, 3);
    return std::ranges::all_of(rest, [](unsigned char c) { return c <= 0x20; });
}

std::vector<base::FileId> files_of(json::Reader& in) {
    std::vector<base::FileId> out;
    for (const auto& text : in.strings("file_ids", k_filter_max, {1, 100})) {
        const auto id = base::FileId::parse(text);
        if (id)
            out.push_back(*id);
        else
            in.reject("file_ids", "must be a list of ids");
    }
    return out;
}

SearchFilter filter_of(json::Reader& question) {
    SearchFilter out;
    auto in = question.optional_object("filters");
    if (!in) return out;
    if (in->has("file_ids")) out.files = files_of(*in);
    if (in->has("tags")) out.tags = in->strings("tags", k_filter_max, {1, 200});
    if (in->has("file_types")) out.types = in->strings("file_types", k_filter_max, {1, 10});
    if (!std::ranges::all_of(out.types, [](const std::string& type) {
            return type == "pdf" || type == "txt" || type == "docx";
        }))
        in->reject("file_types", "must be a list of pdf, txt, docx");
    return out;
}

json::Object filter_json(const SearchFilter& filter) {
    json::Object out;
    json::Array files;
    for (const auto& file : filter.files) files.emplace_back(file.str());
    if (!files.empty()) out["file_ids"] = std::move(files);
    if (!filter.tags.empty()) out["tags"] = json::Array(filter.tags.begin(), filter.tags.end());
    if (!filter.types.empty())
        out["file_types"] = json::Array(filter.types.begin(), filter.types.end());
    return out;
}

}  // namespace

std::string to_json(const AnswerRequested& event) {
    json::Object out{{"query", event.query},
                     {"conversation_id", event.conversation.str()},
                     {"top_k", event.top_k},
                     {"temperature", event.temperature},
                     {"max_tokens", event.max_tokens}};
    if (event.model) out["model"] = *event.model;
    if (!event.filter.empty()) out["filters"] = filter_json(event.filter);
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
        .max_tokens = static_cast<int>(in.integer("max_tokens", 1, k_max_tokens_max)),
        .filter = filter_of(in)};
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    return out;
}

Result<AnswerRequested> decode_question(std::string_view body, const identity::Principal& who,
                                        const std::vector<std::string>& models,
                                        std::string_view visitor) {
    TRY(const auto document, json::parse(body));
    auto in = document.reader();
    AnswerRequested out{
        .query = in.string("query", {1, k_query_max}),
        .conversation = {},
        .model = in.optional_string("model", {1, 100}),
        .top_k = static_cast<int>(in.optional_integer("top_k", 1, k_top_k_max).value_or(5)),
        .temperature = in.optional_number("temperature", 0, 2).value_or(0.7),
        .max_tokens =
            static_cast<int>(in.optional_integer("max_tokens", 1, k_max_tokens_max).value_or(500)),
        .filter = filter_of(in)};
    const auto session = in.optional_string("session_id", {1, 200});
    if (is_blank(out.query)) in.reject("query", "must not be blank");
    if (out.model && std::ranges::find(models, *out.model) == models.end()) {
        in.reject("model", fmt::format("must be one of: {}", fmt::join(models, ", ")));
    }
    if (auto error = in.error()) return std::unexpected(std::move(*error));
    const auto named_by =
        visitor.empty() ? who.user.str() : who.user.str() + "\n" + std::string(visitor);
    const auto given = session ? base::Uuid::parse(*session) : std::nullopt;
    out.new_conversation = !session;
    out.conversation = given     ? *given
                       : session ? base::named_uuid(named_by + "\n" + *session)
                                 : base::uuid_v7();
    return out;
}

std::vector<postgres::Call> record_exchange(const AnswerRequested& question,
                                            const Answered& answered) {
    const auto& [tenant, user, job, asked_at, answer, sources, trace_id] = answered;
    const auto message = [&](const char* role, std::string_view content,
                             std::optional<postgres::Jsonb> shown) {
        return postgres::call(k_message, tenant, user, question.conversation, job, role, content,
                              shown, trace_id);
    };
    std::vector<postgres::Call> calls;
    calls.push_back(postgres::call(k_conversation, tenant, user, question.conversation,
                                   base::utf8_prefix(question.query, k_title_max), asked_at));
    calls.push_back(message("user", question.query, std::nullopt));
    calls.push_back(message("assistant", answer, postgres::Jsonb{sources}));
    return calls;
}

}  // namespace millrace::domain::knowledge
