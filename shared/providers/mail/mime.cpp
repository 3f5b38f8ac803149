#include "shared/providers/mail/mime.hpp"

#include <fmt/format.h>
#include <gmime/gmime.h>

#include <algorithm>
#include <memory>
#include <mutex>

namespace millrace::providers::mail {

namespace {

struct Unref {
    void operator()(void* object) const noexcept { g_object_unref(object); }
};
template <class T>
using Object = std::unique_ptr<T, Unref>;

struct FreeOptions {
    void operator()(GMimeFormatOptions* options) const noexcept {
        g_mime_format_options_free(options);
    }
};
struct Free {
    void operator()(char* text) const noexcept { g_free(text); }
};
struct UnrefDate {
    void operator()(GDateTime* date) const noexcept { g_date_time_unref(date); }
};

Result<void> check_header(std::string_view member, std::string_view value) {
    const bool clean =
        std::ranges::none_of(value, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
    if (clean) return {};
    return fail(ErrorCode::invalid, fmt::format("{}: holds a control character", member),
                {.field = std::string(member)});
}

/// What may stand between the angle brackets of an envelope command without quoting.
bool is_bare_address(std::string_view address) {
    const auto at = address.find('@');
    return at != std::string_view::npos && at > 0 && at + 1 < address.size() &&
           address.find('@', at + 1) == std::string_view::npos &&
           std::ranges::all_of(address, [](unsigned char c) {
               return c > 0x20 && c < 0x7F &&
                      std::string_view("\"(),:;<>[\\]").find(static_cast<char>(c)) ==
                          std::string_view::npos;
           });
}

/// The only mailbox of `text`, null if it is something else. Belongs to `list`.
InternetAddressMailbox* only_mailbox(InternetAddressList* list) {
    if (list == nullptr || internet_address_list_length(list) != 1) return nullptr;
    auto* address = internet_address_list_get_address(list, 0);
    if (!INTERNET_ADDRESS_IS_MAILBOX(address)) return nullptr;
    auto* mailbox = INTERNET_ADDRESS_MAILBOX(address);
    return is_bare_address(internet_address_mailbox_get_addr(mailbox)) ? mailbox : nullptr;
}

void add_part(GMimeMultipart* parts, const char* subtype, const std::string& text) {
    const Object<GMimeTextPart> part(g_mime_text_part_new_with_subtype(subtype));
    g_mime_text_part_set_charset(part.get(), "utf-8");
    g_mime_text_part_set_text(part.get(), text.c_str());
    g_mime_multipart_add(parts, GMIME_OBJECT(part.get()));
}

void set_body(GMimeMessage* message, const Content& content) {
    const Object<GMimeMultipart> parts(g_mime_multipart_new_with_subtype("alternative"));
    add_part(parts.get(), "plain", content.text);
    add_part(parts.get(), "html", content.html);
    g_mime_message_set_mime_part(message, GMIME_OBJECT(parts.get()));
    g_mime_object_encode(GMIME_OBJECT(message), GMIME_ENCODING_CONSTRAINT_7BIT);
}

std::string write(GMimeMessage* message) {
    const std::unique_ptr<GMimeFormatOptions, FreeOptions> options(g_mime_format_options_new());
    g_mime_format_options_set_newline_format(options.get(), GMIME_NEWLINE_FORMAT_DOS);
    const std::unique_ptr<char, Free> text(
        g_mime_object_to_string(GMIME_OBJECT(message), options.get()));
    return text.get();
}

}  // namespace

Result<Message> compose(const Content& content) {
    static std::once_flag once;
    std::call_once(once, g_mime_init);
    TRY_VOID(check_header("id", content.id));
    TRY_VOID(check_header("from", content.from));
    TRY_VOID(check_header("subject", content.subject));
    TRY_VOID(check_header("locale", content.locale));
    TRY_VOID(check_header("template", content.template_name));
    if (!is_bare_address(content.to))
        return fail(ErrorCode::invalid, "to: is no address", {.field = "to"});
    const Object<InternetAddressList> senders(
        internet_address_list_parse(nullptr, content.from.c_str()));
    auto* sender = only_mailbox(senders.get());
    if (sender == nullptr)
        return fail(ErrorCode::invalid, "from: is not one mailbox", {.field = "from"});
    Message out{.id = content.id,
                .from = internet_address_mailbox_get_addr(sender),
                .to = content.to,
                .bytes = {}};

    const Object<GMimeMessage> message(g_mime_message_new(TRUE));
    internet_address_list_append(g_mime_message_get_from(message.get()), senders.get());
    g_mime_message_add_mailbox(message.get(), GMIME_ADDRESS_TYPE_TO, nullptr, content.to.c_str());
    g_mime_message_set_subject(message.get(), content.subject.c_str(), "utf-8");
    const std::unique_ptr<GDateTime, UnrefDate> date(
        g_date_time_new_from_unix_utc(std::chrono::system_clock::to_time_t(content.date)));
    g_mime_message_set_date(message.get(), date.get());
    const auto domain = out.from.substr(out.from.find('@') + 1);
    g_mime_message_set_message_id(message.get(), fmt::format("{}@{}", out.id, domain).c_str());
    const auto header = [&](const char* name, const std::string& value) {
        g_mime_object_append_header(GMIME_OBJECT(message.get()), name, value.c_str(), "utf-8");
    };
    header("Auto-Submitted", "auto-generated");  // RFC 3834: no holiday notices, please
    header("Content-Language", content.locale);
    header("X-Millrace-Template", content.template_name);
    set_body(message.get(), content);
    out.bytes = write(message.get());
    return out;
}

}  // namespace millrace::providers::mail
