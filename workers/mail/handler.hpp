#pragma once
// mail.send: render the letter and hand it over, once.

#include <string>
#include <vector>

#include "shared/postgres/postgres.hpp"
#include "shared/providers/mail/mail.hpp"
#include "workers/runtime/handler.hpp"

namespace millrace::workers::mail {

struct Ports {
    postgres::Database& app;
    providers::mail::Sender& sender;
    std::string from;               ///< one mailbox
    std::vector<std::string> keys;  ///< the server's, which open a letter's secret
};

/// References in `ports` outlive the handler.
[[nodiscard]] runtime::Handler make_send_handler(Ports ports);

}  // namespace millrace::workers::mail
