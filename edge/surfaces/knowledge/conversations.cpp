// One's own conversations: read, taken along, judged, deleted.

#include "shared/domain/knowledge/conversations.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "edge/surfaces/knowledge/knowledge.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::knowledge {

namespace knowledge = domain::knowledge;
using knowledge::Conversations;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

constexpr std::int64_t k_skip_max = 1'000'000'000;

std::unexpected<Error> no_conversation() {
    return fail(ErrorCode::not_found, "there is no such conversation");
}

json::Object conversation_json(const knowledge::Conversation& conversation) {
    return {{"conversation_id", conversation.id.str()},
            {"title", conversation.title},
            {"created_at", base::rfc3339(conversation.created_at)},
            {"updated_at", base::rfc3339(conversation.updated_at)},
            {"message_count", conversation.messages}};
}

json::Object message_json(const knowledge::Message& message) {
    json::Object out{{"id", message.id.str()},
                     {"role", message.role},
                     {"content", message.content},
                     {"created_at", base::rfc3339(message.created_at)}};
    if (message.role != "assistant") return out;
    out["sources"] = boost::json::parse(message.sources.value_or("[]"));
    out["trace_id"] = json::or_null(message.trace_id);
    out["feedback"] = nullptr;
    if (message.rating)
        out["feedback"] = {{"rating", *message.rating}, {"reason", json::or_null(message.reason)}};
    return out;
}

json::Object whole_json(const Conversations::Found& found) {
    auto out = conversation_json(found.conversation);
    json::Array messages;
    for (const auto& message : found.messages) messages.push_back(message_json(message));
    out["messages"] = std::move(messages);
    return out;
}

/// What was said, quoted line by line: nothing in it is markup of the document's own.
std::string markdown(const Conversations::Found& found) {
    std::string out = fmt::format("# {}\n", base::rfc3339(found.conversation.created_at));
    for (const auto& message : found.messages) {
        out += fmt::format("\n**{}** · {}\n\n> ", message.role == "user" ? "Q" : "A",
                           base::rfc3339(message.created_at));
        for (const char c : message.content) {
            if (c == '\r') continue;
            if (c == '[' || c == '\\') out += '\\';  // no link or image begins
            if (c == '<')
                out += "&lt;";
            else
                out += c;
            if (c == '\n') out += "> ";
        }
        out += '\n';
    }
    return out;
}

Task<Result<Conversations::Found>> own(Ports ports, Exchange& exchange) {
    const auto id = base::Uuid::parse(exchange.request.params.at(0));
    if (!id) co_return no_conversation();
    const auto& who = exchange.who();
    CO_TRY(auto found,
           co_await Conversations(ports.app).find({who.tenant, who.user, *id}, exchange.deadline));
    if (!found) co_return no_conversation();
    co_return std::move(*found);
}

Task<Result<Response>> list(Ports ports, Exchange& exchange) {
    CO_TRY(const auto skip, integer_param(exchange, "skip", 0, 0, k_skip_max));
    CO_TRY(const auto limit, integer_param(exchange, "limit", 50, 1, 200));
    const auto& who = exchange.who();
    CO_TRY(const auto found, co_await Conversations(ports.app).list(who.tenant, who.user, skip,
                                                                    limit, exchange.deadline));
    json::Array body;
    for (const auto& conversation : found) body.push_back(conversation_json(conversation));
    co_return middleware::json_response(200, json::dump(body));
}

Task<Result<Response>> read(Ports ports, Exchange& exchange) {
    CO_TRY(const auto found, co_await own(ports, exchange));
    co_return middleware::json_response(200, json::dump(whole_json(found)));
}

Task<Result<Response>> export_one(Ports ports, Exchange& exchange) {
    CO_TRY(const auto format, choice_param(exchange, "format", {"json", "markdown"}));
    CO_TRY(const auto found, co_await own(ports, exchange));
    const bool as_json = format.value_or("json") == "json";
    auto response =
        middleware::json_response(200, as_json ? json::dump(whole_json(found)) : markdown(found));
    if (!as_json) response.content_type = "text/markdown; charset=utf-8";
    response.headers.emplace_back(
        "Content-Disposition", fmt::format(R"(attachment; filename="conversation-{}.{}")",
                                           found.conversation.id.str(), as_json ? "json" : "md"));
    co_return response;
}

Task<Result<Response>> remove(Ports ports, Exchange& exchange) {
    const auto id = base::Uuid::parse(exchange.request.params.at(0));
    bool removed = false;
    if (id) {
        const auto& who = exchange.who();
        CO_TRY(removed, co_await Conversations(ports.app).remove({who.tenant, who.user, *id},
                                                                 exchange.deadline));
    }
    if (!removed) co_return no_conversation();
    co_return middleware::json_response(
        200, json::dump(json::Object{{"message", "会話が削除されました"}}));
}

Task<Result<Response>> judged(Ports ports, Exchange& exchange, knowledge::Feedback feedback) {
    const auto& who = exchange.who();
    const json::Object shown{{"message_id", feedback.message.str()},
                             {"rating", feedback.rating},
                             {"reason", json::or_null(feedback.reason)}};
    CO_TRY(const bool known, co_await Conversations(ports.app).judge(
                                 who.tenant, who.user, std::move(feedback), exchange.deadline));
    if (!known) co_return fail(ErrorCode::not_found, "there is no such answer");
    co_return middleware::json_response(200, json::dump(shown));
}

Task<Result<Response>> judge(Ports ports, Exchange& exchange) {
    const auto message = base::Uuid::parse(exchange.request.params.at(0));
    if (!message) co_return fail(ErrorCode::not_found, "there is no such answer");
    CO_TRY(auto feedback, knowledge::decode_feedback(exchange.request.body, message));
    co_return co_await judged(ports, exchange, std::move(feedback));
}

/// A visitor proves by the conversation's id that the answer was his.
Task<Result<Response>> judge_as_visitor(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(co_await take_visitor_rate(ports, exchange));
    CO_TRY(auto feedback, knowledge::decode_feedback(exchange.request.body, std::nullopt));
    CO_TRY(auto response, co_await judged(ports, exchange, std::move(feedback)));
    response.headers.emplace_back("Cross-Origin-Resource-Policy", "cross-origin");
    co_return response;
}

}  // namespace

std::vector<Endpoint> conversations_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::get, "/api/v1/chats", "listConversations", Auth::bearer, with(list)},
        {Method::get, "/api/v1/chats/{conversation_id}", "getConversation", Auth::bearer,
         with(read)},
        {Method::del, "/api/v1/chats/{conversation_id}", "deleteConversation", Auth::bearer,
         with(remove)},
        {Method::get, "/api/v1/chats/{conversation_id}/export", "exportConversation", Auth::bearer,
         with(export_one)},
        {Method::post, "/api/v1/chats/messages/{message_id}/feedback", "judgeAnswer", Auth::bearer,
         with(judge)},
        {Method::post, "/api/v1/chats/widget/feedback", "judgeAnswerFromWidget", Auth::widget,
         with(judge_as_visitor)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
