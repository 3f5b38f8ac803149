#include "edge/surfaces/karte/karte.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::karte {

namespace {

std::string_view title_of(int status) {
    switch (status) {
        case 400:
            return "リクエストが不正です";
        case 401:
            return "認証エラー";
        case 403:
            return "権限がありません";
        case 404:
            return "リソースが見つかりません";
        case 405:
            return "許可されていないメソッドです";
        case 408:
            return "リクエストの受信が時間内に完了しませんでした";
        case 409:
            return "リクエストが現在の状態と競合しています";
        case 413:
            return "リクエストが大きすぎます";
        case 429:
            return "Too many requests";  // as the contract has it
        case 503:
            return "サービスを一時的に利用できません";
        default:
            return status < 500 ? "リクエストを処理できません" : "サーバーエラー";
    }
}

std::string_view advice_of(int status) {
    if (status == 429) return "リクエスト制限に達しました。しばらくしてから再度お試しください。";
    if (status >= 500) return "しばらくしてから再度お試しください。";
    if (status == 401) return "もう一度ログインしてください。";
    return "リクエストの内容を確認してください。";
}

}  // namespace

middleware::Surface surface() {
    return {
        .name = "karte",
        .prefixes = {"/api/health", "/api/auth-", "/api/check-subscription",
                     "/api/cancel-subscription", "/api/create-", "/api/chat", "/api/chat-stream",
                     "/api/save-settings", "/api/get-settings", "/api/save-log",
                     "/api/stripe-webhook", "/login"},
        .audience = "karte",
        .any_origin = true,
        .render = [](const Error& error, int status, const telemetry::TraceContext&) {
            json::Object body{{"error", title_of(status)},
                              {"message", middleware::japanese_message(error, advice_of(status))}};
            if (status == 429) {
                body["message"] = advice_of(status);  // word for word the contract's
                body["retryAfter"] = error.retry_after.value_or(std::chrono::seconds(1)).count();
            }
            return middleware::Rendered{"application/json", json::dump(body)};
        }};
}

}  // namespace millrace::edge::surfaces::karte
