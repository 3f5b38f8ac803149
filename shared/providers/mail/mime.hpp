#pragma once
// A letter as RFC 5322 bytes, made by GMime: names, subjects and long lines are encoded by it, and
// no header is ever put together from strings.

#include <string>

#include "shared/base/result.hpp"
#include "shared/base/time.hpp"

namespace millrace::providers::mail {

struct Content {
    std::string id;    ///< left of the Message-ID's @: the same id is the same mail
    std::string from;  ///< one mailbox, such as "Millrace <no-reply@example.com>"
    std::string to;    ///< one bare address
    std::string subject, text, html;
    std::string locale;         ///< ja | en
    std::string template_name;  ///< shown as X-Millrace-Template
    base::WallTime date;
};

/// Ready to be handed over.
struct Message {
    std::string id;
    std::string from, to;  ///< of the envelope: bare addresses
    std::string bytes;     ///< with CRLF line ends, 7 bit
};

/// `invalid`, naming the member, when a header would hold a control character or an address is
/// none.
[[nodiscard]] Result<Message> compose(const Content& content);

}  // namespace millrace::providers::mail
