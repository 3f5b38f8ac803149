#pragma once
// A checked request head, parsed by Beast; kept and reused per connection.

#include <memory>
#include <string_view>

#include "edge/server/framing.hpp"
#include "edge/server/http.hpp"

namespace millrace::edge::server {

class HeadParser {
 public:
    HeadParser();
    ~HeadParser();
    HeadParser(const HeadParser&) = delete;
    HeadParser& operator=(const HeadParser&) = delete;

    /// Fills method, target, path, query and headers of `request` with views that live until the
    /// next call. False when Beast disagrees with the guard: the head is refused then.
    bool parse(std::string_view head, const Framing& framing, Request& request);

 private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

struct AnswerFraming {
    std::string_view date;  ///< of the Date header
    bool keep_alive = true;
    bool http_1_0 = false;  ///< the client must be told that the connection stays
};

/// The head of an answer, empty line included. An event stream has no length: it ends with its
/// connection.
void append_head(std::string& out, const Response& response, const AnswerFraming& framing);

/// "200 OK" → the reason phrase; empty for statuses nobody has named.
[[nodiscard]] std::string_view reason_phrase(int status);

}  // namespace millrace::edge::server
