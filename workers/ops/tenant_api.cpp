#include "workers/ops/tenant_api.hpp"

#include <fmt/format.h>

#include <fstream>

#include "shared/base/crypto.hpp"
#include "shared/json/reader.hpp"

namespace millrace::workers::ops {

using namespace std::chrono_literals;

namespace {

const postgres::Statement k_owner{"ops_tenant_owner", R"sql(
SELECT t.id, u.id, u.role, t.name FROM tenants t JOIN users u ON u.tenant_id = t.id AND u.is_owner
 WHERE CASE WHEN $1 = '' THEN EXISTS (SELECT FROM files f WHERE f.tenant_id = t.id) ELSE t.id::text = $1 OR t.domain = lower($1) END
 LIMIT 2)sql"};

/// What the API says about an error, in any of the surfaces' forms.
std::string words_of(const http_client::Response& response) {
    const auto document = json::parse(response.body);
    const auto detail = document ? document->reader().optional_string("detail") : std::nullopt;
    return fmt::format("the API answered {}: {}", response.status,
                       detail.value_or(response.body.substr(0, 300)));
}

bool is_busy(int status) {
    return status == 429 || status == 503;
}

std::chrono::seconds retry_after(const http_client::Response& response) {
    const auto text = response.header("retry-after");
    return std::chrono::seconds(std::clamp(std::atoi(std::string(text).c_str()), 1, 60));
}

}  // namespace

Task<Result<domain::identity::Principal>> find_owner(Context& context, std::string name) {
    CO_TRY(const auto rows,
           co_await context.owner().run(postgres::call(k_owner, name), Deadline::in(10s)));
    if (rows.empty()) {
        co_return fail(ErrorCode::not_found, name.empty()
                                                 ? "no tenant has documents yet"
                                                 : fmt::format("there is no tenant '{}'", name));
    }
    if (rows.size() > 1)
        co_return fail(ErrorCode::invalid,
                       "several tenants have documents: choose one with --tenant");
    co_return domain::identity::Principal{.tenant = rows[0].get<base::TenantId>(0),
                                          .user = rows[0].get<base::UserId>(1),
                                          .role = rows[0].get<std::string>(2),
                                          .audience = "knowledge",
                                          .is_owner = true};
}

Task<Result<std::string>> sign_in(Context& context, domain::identity::Principal owner) {
    auto token = domain::identity::make_session_token();
    const domain::identity::NewSession session{.tenant = owner.tenant,
                                               .user = owner.user,
                                               .audience = owner.audience + " bulk",
                                               .client = "millrace-ops",
                                               .lifetime = 24h};
    CO_TRY_VOID(co_await context.owner().run(domain::identity::insert_session(session, token),
                                             Deadline::in(10s)));
    co_return token;
}

TenantApi::TenantApi(Context& context, std::string token)
    : executor_(context.executor()),
      token_(std::move(token)),
      url_(context.edge_url()),
      http_(http_client::make_client(executor_, {})) {}

Task<Result<http_client::Response>> TenantApi::call(std::string method, std::string path,
                                                    std::string body, Headers headers,
                                                    Deadline deadline) {
    headers.emplace_back("Authorization", "Bearer " + token_);
    for (;;) {
        http_client::Request request{.method = method,
                                     .url = url_ + path,
                                     .headers = headers,
                                     .body = body,
                                     .profile = http_client::Profile::operator_configured,
                                     .first_byte_timeout = 70s};
        CO_TRY(auto response, co_await http_->send(std::move(request), deadline));
        if (response.status < 400) co_return response;
        if (!is_busy(response.status) || deadline.remaining() < retry_after(response)) {
            co_return fail(response.status == 404     ? ErrorCode::not_found
                           : is_busy(response.status) ? ErrorCode::unavailable
                                                      : ErrorCode::invalid,
                           words_of(response));
        }
        co_await async::delay(executor_, retry_after(response));
    }
}

Task<Result<TenantApi::Uploaded>> TenantApi::upload(std::filesystem::path file, std::string key,
                                                    Deadline deadline) {
    std::ifstream in(file, std::ios::binary);
    std::string content{std::istreambuf_iterator<char>(in), {}};
    if (!in) co_return fail(ErrorCode::invalid, "cannot be read");
    const auto boundary = base::random_token(16);
    auto name = file.filename().string();
    std::erase_if(name, [](char c) { return c == '"' || c == '\r' || c == '\n'; });
    std::string body =
        fmt::format("--{}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\n{}\r\n",
                    boundary, file.stem().string());
    body += fmt::format(
        "--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\r\n", boundary,
        name);
    body += content + "\r\n--" + boundary + "--\r\n";
    Headers headers{{"Content-Type", "multipart/form-data; boundary=" + boundary},
                    {"Idempotency-Key", std::move(key)}};
    CO_TRY(const auto response, co_await call("POST", "/api/v1/contents/upload", std::move(body),
                                              std::move(headers), deadline));
    CO_TRY(const auto document, json::parse(response.body));
    auto reader = document.reader();
    Uploaded out{.file_id = reader.string("id"), .job_id = {}};
    const std::string_view link = response.header("link");
    const auto end = link.find('>'), begin = link.rfind('/', end);
    if (end == std::string_view::npos || begin == std::string_view::npos)
        co_return fail(ErrorCode::internal, "the upload's answer has no link to its job");
    out.job_id = link.substr(begin + 1, end - begin - 1);
    co_return out;
}

Task<Result<std::string>> TenantApi::wait_job(std::string id, Deadline deadline) {
    for (;;) {
        CO_TRY(auto response,
               co_await call("GET", "/api/jobs/" + id, {}, {{"Prefer", "wait=30"}}, deadline));
        CO_TRY(const auto document, json::parse(response.body));
        const auto status = document.reader().string("status");
        if (status == "succeeded" || status == "failed" || status == "dead" ||
            status == "cancelled")
            co_return std::move(response.body);
        if (deadline.passed()) co_return fail(ErrorCode::timeout, "the job did not end in time");
    }
}

}  // namespace millrace::workers::ops
