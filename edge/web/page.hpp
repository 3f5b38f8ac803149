#pragma once
// Small HTML pages, rendered here, without scripts: what a link in a mail opens. A GET shows a page
// and changes nothing; a button of it posts the link's token [S5].

#include <string>
#include <string_view>

#include "edge/server/http.hpp"

namespace millrace::edge::web {

/// Text for element content and for quoted attribute values.
[[nodiscard]] std::string escape(std::string_view text);

/// A whole document. `title` is text, `body_html` is markup whose parts the caller has escaped,
/// `locale` is ja or en.
[[nodiscard]] std::string page(std::string_view title, std::string_view body_html,
                               std::string_view locale);

/// A form that posts `token` to `action` with what `inputs_html` (markup) asks for; `label` is on
/// its button.
[[nodiscard]] std::string token_form(std::string_view action, std::string_view token,
                                     std::string_view label, std::string_view inputs_html);

/// A form of one button that posts `token` to `action`, with `choice` (when not empty) as what the
/// button means.
[[nodiscard]] std::string button_form(std::string_view action, std::string_view token,
                                      std::string_view label, std::string_view choice = {});

/// The page with its own Content-Security-Policy: nothing but its style sheet and its own forms.
[[nodiscard]] server::Response html_response(int status, std::string html);

/// ja or en, from Accept-Language; ja when it names neither.
[[nodiscard]] std::string_view locale_of(const server::Request& request);

/// `forbidden` when a browser says that another site made this request [S16]. `public_url`: where
/// people reach us. Callers that are no browsers say nothing and pass: what they post must hold a
/// secret anyway.
[[nodiscard]] Result<void> require_same_origin(const server::Request& request,
                                               std::string_view public_url);

}  // namespace millrace::edge::web
