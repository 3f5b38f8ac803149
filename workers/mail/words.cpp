#include "workers/mail/words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "shared/base/time.hpp"

namespace millrace::workers::mail {

namespace {

struct Word {
    std::string_view name, value, ja, en;
};

constexpr auto k_words = std::to_array<Word>({
    {"product", "knowledge", "ナレッジ", "Knowledge"},
    {"product", "diary", "ダイアリー", "Diary"},
    {"product", "karte", "Karte AI+", "Karte AI+"},
    {"product", "planner", "プランナー", "Planner"},
    {"product", "habits", "ハビット", "Habits"},
    {"purpose", "login", "ログイン", "signing in"},
    {"purpose", "email_verify", "メールアドレスの確認", "confirming your email address"},
    {"purpose", "register", "新規登録", "signing up"},
    {"purpose", "second_factor", "ログイン時の本人確認", "signing in"},
    {"purpose", "password_reset", "パスワードの再設定", "resetting your password"},
    {"purpose", "email_change", "メールアドレスの変更", "changing your email address"},
    {"what", "password_changed", "パスワードの変更", "Your password was changed"},
    {"what", "password_reset", "パスワードの再設定", "Your password was reset"},
    {"what", "email_changed", "メールアドレスの変更", "Your email address was changed"},
    {"what", "signed_in", "新しい端末からのログイン", "Sign-in from a new device"},
    {"what", "totp_added", "認証アプリの追加", "An authenticator app was added"},
    {"what", "totp_removed", "認証アプリの削除", "An authenticator app was removed"},
    {"what", "sessions_revoked", "すべての端末からのログアウト", "All devices were signed out"},
    {"what", "token_reuse", "使用済みの認証情報の再利用（ログアウトしました）",
     "A used credential was presented again; the session was ended"},
});

/// Japan has no daylight saving time.
constexpr auto k_japan = std::chrono::hours(9);

std::string time_in_words(base::WallTime when, bool japanese) {
    if (japanese) when += k_japan;
    const auto day = std::chrono::floor<std::chrono::days>(when);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::minutes>(when - day));
    const auto year = static_cast<int>(date.year());
    const auto month = static_cast<unsigned>(date.month());
    const auto number = static_cast<unsigned>(date.day());
    const auto clock = fmt::format("{:02}:{:02}", time.hours().count(), time.minutes().count());
    if (japanese) return fmt::format("{}年{}月{}日 {}（日本時間）", year, month, number, clock);
    return fmt::format("{}-{:02}-{:02} {} UTC", year, month, number, clock);
}

}  // namespace

std::string in_words(std::string_view name, std::string value, std::string_view locale) {
    const bool japanese = locale == "ja";
    if (name == "when") {
        const auto when = base::parse_rfc3339(value);
        return when ? time_in_words(*when, japanese) : value;
    }
    const auto* found = std::ranges::find_if(
        k_words, [&](const Word& word) { return word.name == name && word.value == value; });
    if (found == k_words.end()) return value;
    return std::string(japanese ? found->ja : found->en);
}

}  // namespace millrace::workers::mail
