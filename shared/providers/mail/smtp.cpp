// SMTP submission (RFC 5321, RFC 6409) through libcurl, one conversation per mail, on a pool.

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <ranges>

#include "shared/providers/mail/mail.hpp"

namespace millrace::providers::mail {

namespace {

constexpr std::size_t k_reply_bytes_max = 300;  // of the server's last line, for the log

struct FreeHandle {
    void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
    void operator()(CURLU* url) const noexcept { curl_url_cleanup(url); }
    void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};
template <class T>
using Handle = std::unique_ptr<T, FreeHandle>;

/// Where mails are handed over.
struct Server {
    std::string url;  ///< without the credentials
    std::string user, password, ca_file;
    bool needs_tls = true;
};

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
    char* text = nullptr;
    if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
    std::string out(text);
    curl_free(text);
    return out;
}

bool is_loopback(std::string_view host) {
    return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

/// What a server says may name the recipient, which logs do not.
std::string without_addresses(std::string_view text) {
    std::string out;
    for (const auto word : std::views::split(text, ' ')) {
        const std::string_view said(word.begin(), word.end());
        if (!out.empty()) out += ' ';
        out += said.contains('@') ? "***" : said;
    }
    return out;
}

/// One conversation, and what is known of it.
struct Conversation {
    std::string_view body;
    std::string reply;  ///< the server's last line, its farewell aside
    bool said_all = false;

    static std::size_t read(char* into, std::size_t size, std::size_t count, void* self) {
        auto& it = *static_cast<Conversation*>(self);
        const auto taken = std::min(size * count, it.body.size());
        std::memcpy(into, it.body.data(), taken);
        it.body.remove_prefix(taken);
        it.said_all = taken == 0;  // libcurl ends the mail now, with the line that holds a dot
        return taken;
    }
    static std::size_t hear(char* line, std::size_t size, std::size_t count, void* self) {
        std::string_view text(line, size * count);
        while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
        if (!text.starts_with("221"))
            static_cast<Conversation*>(self)->reply =
                without_addresses(text.substr(0, k_reply_bytes_max));
        return size * count;
    }
};

void set_up(CURL* curl, const Server& server, const Message& message, curl_slist* recipients,
            Conversation& conversation, std::chrono::milliseconds timeout) {
    curl_easy_setopt(curl, CURLOPT_URL, server.url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USE_SSL,
                     static_cast<long>(server.needs_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY));
    if (!server.ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, server.ca_file.c_str());
    if (!server.user.empty()) {
        curl_easy_setopt(curl, CURLOPT_USERNAME, server.user.c_str());
        curl_easy_setopt(curl, CURLOPT_PASSWORD, server.password.c_str());
    }
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
    curl_easy_setopt(curl, CURLOPT_MAIL_FROM, message.from.c_str());
    curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, recipients);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, &Conversation::read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &conversation);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Conversation::hear);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &conversation);
}

/// What a conversation came to. `status`: of the server's last reply, 0 when there was none.
Result<Handed> judge(CURLcode code, long status, const Conversation& conversation) {
    if (code == CURLE_OK || (conversation.said_all && status / 100 == 2)) return Handed::taken;
    const auto log = fmt::format("smtp: {} (curl {}), last reply: {}", curl_easy_strerror(code),
                                 static_cast<int>(code), conversation.reply);
    const auto source = fmt::format("smtp:{}", status);
    // All was said and the server, which had answered 354, did not say what became of it.
    if (conversation.said_all && status / 100 == 3) return Handed::perhaps;
    // Before the mail is begun, 5xx to anything but its sender and recipient is about us.
    const bool about_mail = conversation.said_all || code == CURLE_SEND_ERROR;
    if (status / 100 == 5 && about_mail) {
        return fail(ErrorCode::invalid,
                    fmt::format("the mail server refused the mail ({})", status),
                    {.log = log, .reason = "MAIL_REFUSED", .source = source});
    }
    return fail(ErrorCode::unavailable, "mail cannot be sent at the moment",
                {.log = log, .source = source});
}

Result<Handed> converse(const Server& server, const Message& message, Deadline deadline) {
    const auto left = std::chrono::floor<std::chrono::milliseconds>(deadline.remaining());
    if (left.count() == 0)
        return fail(ErrorCode::unavailable, "mail cannot be sent at the moment",
                    {.log = "smtp: all connections were busy"});
    const Handle<CURL> curl(curl_easy_init());
    const Handle<curl_slist> recipients(curl_slist_append(nullptr, message.to.c_str()));
    check(curl && recipients, "libcurl has memory");
    Conversation conversation{.body = message.bytes, .reply = {}};
    set_up(curl.get(), server, message, recipients.get(), conversation, left);
    const auto code = curl_easy_perform(curl.get());
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    return judge(code, status, conversation);
}

class Smtp final : public Sender {
 public:
    Smtp(Executor executor, async::Pool& pool, Server server)
        : executor_(std::move(executor)),
          pool_(pool),
          server_(std::make_shared<const Server>(std::move(server))) {}

    [[nodiscard]] bool repeats_are_harmless() const noexcept override { return false; }

    Task<Result<Handed>> send(Message message, Deadline deadline) override {
        auto shared = std::make_shared<const Message>(std::move(message));
        auto server = server_;
        co_return co_await async::offload(executor_, pool_, [server, shared, deadline] {
            return converse(*server, *shared, deadline);
        });
    }

 private:
    Executor executor_;
    async::Pool& pool_;
    std::shared_ptr<const Server> server_;
};

}  // namespace

Result<std::unique_ptr<Sender>> make_smtp(Executor executor, async::Pool& pool,
                                          const std::string& url, std::string ca_file) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    const Handle<CURLU> parsed(curl_url());
    const auto given = curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0);
    const auto scheme = part_of(parsed.get(), CURLUPART_SCHEME);
    if (given != CURLUE_OK || (scheme != "smtp" && scheme != "smtps"))
        return fail(ErrorCode::invalid, "MILLRACE_SMTP_URL: must be smtp:// or smtps://host:port");
    Server server{
        .url = {},
        .user = part_of(parsed.get(), CURLUPART_USER, CURLU_URLDECODE),
        .password = part_of(parsed.get(), CURLUPART_PASSWORD, CURLU_URLDECODE),
        .ca_file = std::move(ca_file),
        .needs_tls = scheme == "smtps" || !is_loopback(part_of(parsed.get(), CURLUPART_HOST))};
    curl_url_set(parsed.get(), CURLUPART_USER, nullptr, 0);
    curl_url_set(parsed.get(), CURLUPART_PASSWORD, nullptr, 0);
    server.url = part_of(parsed.get(), CURLUPART_URL);
    return std::make_unique<Smtp>(std::move(executor), pool, std::move(server));
}

}  // namespace millrace::providers::mail
