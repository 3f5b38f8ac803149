// Contract §3.2.

#include "shared/domain/knowledge/chats.hpp"

#include <algorithm>

#include "edge/surfaces/knowledge/knowledge.hpp"

namespace millrace::edge::surfaces::knowledge {

using domain::jobs::NewJob;
using middleware::Auth;
using middleware::Endpoint;
using middleware::Exchange;
using server::Method;
using server::Response;

namespace {

constexpr int k_visitor_tokens_max = 1000;

Task<Result<Response>> ask(Ports ports, Exchange& exchange) {
    const auto& who = exchange.who();
    const bool visitor = who.role == "WIDGET";
    CO_TRY(auto question, domain::knowledge::decode_question(
                              exchange.request.body, who, ports.models,
                              visitor ? exchange.client_address : std::string_view()));
    if (visitor) {  // who spends the tenant's money does not choose how much of it
        question.model.reset();
        question.max_tokens = std::min(question.max_tokens, k_visitor_tokens_max);
    }
    auto canonical = question;
    if (question.new_conversation) canonical.conversation = {};
    NewJob job{.tenant = who.tenant,
               .owner = who.user,
               .kind = ports.catalog.kind("knowledge.answer"),
               .order_key = {},
               .trace = {},
               .input = to_json(question)};
    CO_TRY(const auto accepted,
           co_await ports.gate.accept(exchange, std::move(job), to_json(canonical)));
    if (exchange.request.header("accept").find("text/event-stream") != std::string_view::npos) {
        CO_TRY(auto view, co_await ports.jobs.reader.find(accepted.id, exchange.deadline));
        if (view) {
            co_return co_await jobs::follow(ports.jobs, std::move(*view),
                                            std::string(exchange.request.header("last-event-id")));
        }
    }
    co_return co_await ports.gate.hold(exchange, accepted, [](const domain::jobs::View& done) {
        return middleware::json_response(200, done.result.value_or("{}"));
    });
}

Task<Result<Response>> ask_as_user(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(co_await take_user_rate(ports, exchange, "chats", ports.deployment.chat_rate));
    co_return co_await ask(ports, exchange);
}

Task<Result<Response>> ask_as_visitor(Ports ports, Exchange& exchange) {
    CO_TRY_VOID(co_await take_visitor_rate(ports, exchange));
    CO_TRY(auto response, co_await ask(ports, exchange));
    response.headers.emplace_back("Cross-Origin-Resource-Policy", "cross-origin");
    co_return response;
}

}  // namespace

std::vector<Endpoint> chats_endpoints(Ports ports) {
    const auto with = middleware::with_ports(ports);
    return {
        {Method::post, "/api/v1/chats/rag", "askQuestion", Auth::bearer, with(ask_as_user)},
        {Method::post, "/api/v1/chats/widget/chat", "askFromWidget", Auth::widget,
         with(ask_as_visitor)},
    };
}

}  // namespace millrace::edge::surfaces::knowledge
