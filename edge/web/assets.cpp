#include "edge/web/assets.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "shared/base/crypto.hpp"

namespace millrace::edge::web {

namespace {

constexpr std::string_view k_console_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src "
    "'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
// Swagger UI and ReDoc write styles into the page, ReDoc searches in a worker.
constexpr std::string_view k_docs_policy =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' "
    "data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; "
    "frame-ancestors 'none'";
// The one thing that ReDoc asks another site for.
constexpr std::string_view k_foreign_logo = "https://cdn.redoc.ly/redoc/logo-mini.svg";

std::string type_of(std::string_view path) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 7> k_types = {{
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".html", "text/html; charset=utf-8"},
        {".yaml", "application/yaml"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".txt", "text/plain; charset=utf-8"},
    }};
    for (const auto& [end, type] : k_types)
        if (path.ends_with(end)) return std::string(type);
    return "application/octet-stream";
}

}  // namespace

Assets::Assets(const std::string& docs_dir) {
    for (const auto& [path, content] : embedded_assets()) add(path, std::string(content));
    std::error_code missing;
    if (docs_dir.empty()) return;
    for (const auto& entry : std::filesystem::directory_iterator(docs_dir, missing)) {
        std::ifstream in(entry.path(), std::ios::binary);
        std::string content{std::istreambuf_iterator<char>(in), {}};
        if (const auto at = content.find(k_foreign_logo); at != std::string::npos)
            content.replace(at, k_foreign_logo.size(), "data:,");
        add("/docs/assets/" + entry.path().filename().string(), std::move(content));
    }
}

void Assets::add(std::string path, std::string content) {
    auto etag = "\"" + base::hex(base::sha256(content)).substr(0, 16) + "\"";
    files_.insert_or_assign(std::move(path),
                            File{std::move(content), type_of(path), std::move(etag)});
}

Result<server::Response> Assets::serve(const server::Request& request, std::string_view path,
                                       Policy policy) const {
    const auto found = files_.find(path);
    if (found == files_.end()) return fail(ErrorCode::not_found, "there is no such page");
    const auto& file = found->second;
    server::Response response;
    response.content_type = file.type;
    response.headers.emplace_back("ETag", file.etag);
    response.headers.emplace_back("Cache-Control", "no-cache");
    if (policy == Policy::console)
        response.headers.emplace_back("Content-Security-Policy", k_console_policy);
    if (policy == Policy::docs)
        response.headers.emplace_back("Content-Security-Policy", k_docs_policy);
    if (request.header("if-none-match").find(file.etag) != std::string_view::npos)
        response.status = 304;
    else
        response.body = file.content;
    return response;
}

}  // namespace millrace::edge::web
