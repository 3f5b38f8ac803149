#include "edge/surfaces/habits/habits.hpp"
#include "shared/json/writer.hpp"

namespace millrace::edge::surfaces::habits {

namespace {

struct Wording {
    std::string_view code, message;
};

/// The contract's codes; those of HTTP beside them.
Wording wording_of(int status) {
    switch (status) {
        case 400:
            return {"INVALID_REQUEST", "リクエストの内容を確認してください。"};
        case 401:
            return {"UNAUTHORIZED", "認証が必要です。"};
        case 403:
            return {"FORBIDDEN", "アクセス権限がありません。"};
        case 404:
            return {"NOT_FOUND", "指定されたリソースが見つかりません。"};
        case 405:
            return {"METHOD_NOT_ALLOWED", "許可されていないメソッドです。"};
        case 409:
            return {"CONFLICT", "リクエストが現在の状態と競合しています。"};
        case 413:
            return {"PAYLOAD_TOO_LARGE", "リクエストが大きすぎます。"};
        case 429:
            return {"RATE_LIMITED",
                    "リクエスト制限に達しました。しばらくしてから再度お試しください。"};
        case 503:
            return {"SERVICE_UNAVAILABLE", "サービスを一時的に利用できません。"};
        default:
            return status < 500 ? Wording{"INVALID_REQUEST", "リクエストを処理できません。"}
                                : Wording{"INTERNAL_ERROR", "サーバーエラーが発生しました。"};
    }
}

}  // namespace

middleware::Surface surface() {
    return {.name = "habits",
            .prefixes = {"/api/habits", "/api/users"},
            .audience = "habits",
            .render = [](const Error& error, int status, const telemetry::TraceContext&) {
                const auto wording = wording_of(status);
                const bool says_more = status == 400 || status == 404 || status == 409;
                json::Object described{
                    {"code", error.reason.empty() ? std::string(wording.code) : error.reason},
                    {"message", says_more ? middleware::japanese_message(error, wording.message)
                                          : std::string(wording.message)},
                    {"retryable", status == 429 || status == 503}};
                if (!error.field.empty()) described["field"] = error.field;
                return middleware::Rendered{"application/json",
                                            json::dump(json::Object{{"error", described}})};
            }};
}

}  // namespace millrace::edge::surfaces::habits
