#pragma once
// probe.mail {"letter": {"template", "locale", "to", "data", "secret"?, "needs_account"?,
//             "challenge": {"purpose", "seconds"}?}} → {"mail": id of the job mail.send}
// Asks for a mail, as products do; with `challenge` the secret is a code that is opened with it.

#include <string>

#include "shared/events/catalog.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::tests {

/// `catalog` outlives the handler. `key`: the server's.
[[nodiscard]] workers::runtime::Handler probe_mail_handler(const events::Catalog& catalog,
                                                           postgres::Database& app,
                                                           std::string key);

}  // namespace millrace::tests
