#include "shared/providers/objects/s3_bucket.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/crypto.hpp"
#include "shared/base/utf8.hpp"
#include "shared/providers/objects/s3_answers.hpp"

namespace millrace::providers::objects {

namespace {

constexpr std::uint64_t k_xml_bytes_max = 4 << 20;  // a list of 1000 keys is at most 1 MiB
constexpr std::size_t k_message_bytes_max = 300;
constexpr auto k_pause_max = std::chrono::seconds(2);

/// "host[:port]" as curl writes the Host header: without the scheme's own port.
std::string host_of(const std::string& url) {
    auto host = url.substr(url.find("://") + 3);
    for (const auto& [scheme, port] :
         {std::pair{"https://", ":443"}, std::pair{"http://", ":80"}}) {
        if (url.starts_with(scheme) && host.ends_with(port))
            host.resize(host.size() - std::string_view(port).size());
    }
    return host;
}

/// The service is overloaded, restarting, or had trouble with the connection.
bool passes(const http_client::Response& response) {
    return response.status >= 500 || response.status == 429 || response.status == 408 ||
           (response.status == 400 && parse_complaint(response.body).code == "RequestTimeout");
}

std::chrono::nanoseconds pause_after(int attempt, std::chrono::milliseconds first) {
    const auto whole = std::min<std::chrono::milliseconds>(first * (1 << attempt), k_pause_max);
    return whole / 2 + whole * base::random_below(1000) / 2000;
}

/// What to look at.
std::string_view advice(int status, const std::string& code) {
    if (code == "NoSuchBucket") return "; there is no bucket MILLRACE_OBJECT_BUCKET";
    if (code == "InvalidAccessKeyId") return "; look at MILLRACE_OBJECT_ACCESS_KEY";
    if (code == "SignatureDoesNotMatch") return "; look at MILLRACE_OBJECT_SECRET_KEY";
    if (code == "AuthorizationHeaderMalformed" || status == 301 || status == 307)
        return "; look at MILLRACE_OBJECT_REGION and MILLRACE_OBJECT_URL";
    if (status == 401 || status == 403)
        return "; MILLRACE_OBJECT_ACCESS_KEY may not do that in MILLRACE_OBJECT_BUCKET";
    return "";
}

}  // namespace

std::unexpected<Error> store_away(std::string log, std::string source) {
    return fail(ErrorCode::unavailable, "the document store is not available now",
                {.log = "object store: " + std::move(log), .source = std::move(source)});
}

Bucket::Bucket(Executor executor, http_client::Client& http, config::Objects where,
               S3Options options)
    : executor_(std::move(executor)),
      http_(http),
      base_(std::move(where.url)),
      host_(host_of(base_)),
      bucket_(std::move(where.bucket)),
      signer_{std::move(where.access_key), std::move(where.secret_key), std::move(where.region)},
      options_(options) {}

/// Signed anew for every attempt: a signature is good for minutes.
http_client::Request Bucket::request_of(const Call& call) const {
    const auto hash = call.body_hash.empty() ? base::hex(base::sha256("")) : call.body_hash;
    const auto path = "/" + bucket_ + (call.key.empty() ? "" : "/") + call.key;
    http_client::Request request{
        .method = call.method,
        .url = base_ + percent_encoded(path, true),
        .headers = sign(signer_, {call.method, host_, path, call.query, {}, hash},
                        std::chrono::system_clock::now()),
        .body = call.body,
        .profile = http_client::Profile::operator_configured,
        .first_byte_timeout = options_.attempt,
        .stall_timeout = options_.attempt,
        .body_bytes_max = std::max(call.answer_bytes_max, k_xml_bytes_max)};
    if (!call.query.empty()) request.url += "?" + query_string(call.query);
    request.headers.insert(request.headers.end(), call.headers.begin(), call.headers.end());
    if (call.method == "PUT" || call.method == "POST")
        request.headers.emplace_back("Content-Type", "application/octet-stream");
    return request;
}

Task<Result<http_client::Response>> Bucket::send(Call call) {
    const auto deadline = Deadline::in(options_.call);
    for (int attempt = 0;; ++attempt) {
        auto answered = co_await http_.send(request_of(call), deadline.capped(options_.attempt));
        const bool passing =
            answered ? passes(*answered) : base::is_transient(answered.error().code);
        if (!passing) co_return answered;
        const auto pause = pause_after(attempt, options_.pause);
        if (attempt + 1 >= options_.attempts || deadline.remaining() <= pause) {
            if (answered) co_return answered;
            co_return store_away(
                fmt::format("{} {}/{}: {}", call.method, base_, bucket_, answered.error().log),
                answered.error().source);
        }
        co_await async::delay(executor_, pause);
    }
}

std::unexpected<Error> Bucket::refusal(std::string_view what,
                                       const http_client::Response& response) const {
    const auto complaint = parse_complaint(response.body);
    // Said by the service itself: some other server's 404 must not pass for a deleted document.
    if (complaint.code == "NoSuchKey" || complaint.code == "NoSuchUpload")
        return fail(ErrorCode::not_found, "there is no such object");
    return store_away(
        fmt::format("{} in {}/{}: {} {} {}{}", what, base_, bucket_, response.status,
                    complaint.code, base::utf8_prefix(complaint.message, k_message_bytes_max),
                    advice(response.status, complaint.code)),
        fmt::format("http:{}", response.status));
}

}  // namespace millrace::providers::objects
