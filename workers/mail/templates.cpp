#include "workers/mail/templates.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "shared/base/utf8.hpp"
#include "workers/mail/words.hpp"

namespace millrace::workers::mail {

namespace {

using domain::mail::Letter;
using Values = std::map<std::string, std::string, std::less<>>;

constexpr std::string_view k_subject = "Subject: ";
constexpr std::string_view k_open = "{{", k_close = "}}";
constexpr std::string_view k_signature = "-- \n";
constexpr std::size_t k_value_bytes_max = 2000;

/// A value is one line of text, whatever its sender put into it.
std::string one_line(std::string text) {
    std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
    return text;
}

/// With its line breaks.
std::string escape(std::string_view text) {
    std::string out;
    for (const char c : base::html_escape(text)) out += c == '\n' ? "<br>\n" : std::string(1, c);
    return out;
}

std::unexpected<Error> wrong(std::string field, std::string_view why) {
    return fail(ErrorCode::invalid, fmt::format("{}: {}", field, why), {.field = field});
}

Result<std::string> fill(std::string_view text, const Values& values) {
    std::string out;
    for (;;) {
        const auto open = text.find(k_open);
        out += text.substr(0, open);
        if (open == std::string_view::npos) return out;
        text.remove_prefix(open + k_open.size());
        const auto close = text.find(k_close);
        const auto name = text.substr(0, close);
        const auto value = values.find(name);
        if (value == values.end())
            return wrong(fmt::format("data.{}", name), "the template shows it");
        out += value->second;
        text.remove_prefix(close + k_close.size());
    }
}

/// The partial templates/<name>.html with values that are HTML already.
std::string html_of(std::string_view name, const Values& values) {
    const auto filled = fill(template_files().find(fmt::format("{}.html", name))->second, values);
    check(filled.has_value(), "a partial shows what it is given");
    return *filled;
}

Result<Values> values_of(const Letter& letter) {
    Values values;
    for (const auto& [key, value] : letter.data) {
        const std::string name(key);
        std::string text;
        if (value.is_string()) {
            text = value.as_string();
        } else if (value.is_int64()) {
            text = std::to_string(value.as_int64());
        } else {
            return wrong("data." + name, "must be a string or an integer");
        }
        if (text.empty() || text.size() > k_value_bytes_max)
            return wrong("data." + name, fmt::format("must have 1 to {} bytes", k_value_bytes_max));
        values[name] = in_words(name, one_line(std::move(text)), letter.locale);
    }
    if (letter.secret.empty()) return values;
    values["secret"] = one_line(letter.secret);
    if (const auto prefix = values.find("url_prefix"); prefix != values.end())
        values["link"] = prefix->second + values["secret"];
    return values;
}

std::vector<std::string_view> paragraphs(std::string_view text) {
    std::vector<std::string_view> out;
    while (!text.empty()) {
        const auto end = text.find("\n\n");
        out.push_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 2);
        while (text.starts_with('\n')) text.remove_prefix(1);
    }
    return out;
}

/// The placeholder that a paragraph ends with on a line of its own, if it is an address.
bool is_button(std::string_view paragraph) {
    const auto line = paragraph.find(":\n{{");
    return line != std::string_view::npos &&
           (paragraph.ends_with("\n{{link}}") || paragraph.ends_with("_url}}"));
}

/// What a paragraph of the template looks like in HTML. `text` is the paragraph filled in.
Result<std::string> as_html(std::string_view paragraph, std::string_view text) {
    if (paragraph == "{{secret}}") return html_of("code", {{"text", escape(text)}});
    if (!is_button(paragraph)) return html_of("paragraph", {{"text", escape(text)}});
    const auto line = text.rfind('\n');
    const auto url = text.substr(line + 1);
    if (!url.starts_with("https://") && !url.starts_with("http://"))
        return wrong("data", "an address in it is none of the web");
    return html_of("button", {{"label", escape(text.substr(0, line - 1))}, {"url", escape(url)}});
}

}  // namespace

Result<Rendered> render(const Letter& letter) {
    const auto& files = template_files();
    const auto file = files.find(fmt::format("{}.{}.txt", letter.name, letter.locale));
    if (file == files.end()) return wrong("template", "there is no such template");
    TRY(const auto values, values_of(letter));
    std::string_view source = file->second;
    while (source.ends_with('\n')) source.remove_suffix(1);
    const auto head = source.find("\n\n");
    TRY(auto subject, fill(source.substr(k_subject.size(), head - k_subject.size()), values));
    Rendered out{.subject = std::move(subject), .text = {}, .html = {}};
    std::string body, footer;
    for (const auto paragraph : paragraphs(source.substr(head + 2))) {
        TRY(auto text, fill(paragraph, values));
        if (!out.text.empty()) out.text += "\n\n";
        out.text += text;
        if (paragraph.starts_with(k_signature)) {
            footer = escape(std::string_view(text).substr(k_signature.size()));
        } else {
            TRY(const auto html, as_html(paragraph, text));
            body += html;
        }
    }
    out.text += '\n';
    TRY(const auto product, fill("{{product}}", values));
    out.html = html_of("page", {{"locale", letter.locale},
                                {"subject", escape(out.subject)},
                                {"product", escape(product)},
                                {"body", body},
                                {"footer", footer}});
    return out;
}

}  // namespace millrace::workers::mail
