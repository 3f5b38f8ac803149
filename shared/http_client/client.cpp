#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <map>

#include "shared/async/event.hpp"
#include "shared/base/utf8.hpp"
#include "shared/http_client/guard.hpp"
#include "shared/http_client/http_client.hpp"

namespace millrace::http_client {

namespace {

using Descriptor = boost::asio::posix::basic_stream_descriptor<Executor>;
constexpr auto k_tick = std::chrono::milliseconds(50);

/// One request under way.
struct Transfer {
    explicit Transfer(Executor executor) : done(std::move(executor)) {}
    ~Transfer() {
        curl_slist_free_all(headers);
        curl_slist_free_all(resolve);
        curl_easy_cleanup(easy);
    }
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;

    Request request;
    OnBody on_body;
    CURL* easy = curl_easy_init();
    curl_slist* headers = nullptr;
    curl_slist* resolve = nullptr;
    Response response;
    std::uint64_t body_bytes = 0;
    bool headers_done = false, refused = false, finished = false;
    std::optional<Error> error;
    CURLcode code = CURLE_OK;
    base::SteadyTime started = std::chrono::steady_clock::now(), last_byte = started;
    async::Event done;

    [[nodiscard]] int status() const {
        long code_ = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code_);
        return static_cast<int>(code_);
    }
};

std::size_t on_body_bytes(char* data, std::size_t, std::size_t size, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    t.last_byte = std::chrono::steady_clock::now();
    t.headers_done = true;
    t.body_bytes += size;
    if (t.body_bytes > t.request.body_bytes_max) {
        t.error = fail(ErrorCode::too_large, "the answer is too large").error();
        return 0;
    }
    if (!t.on_body) {
        t.response.body.append(data, size);
        return size;
    }
    auto taken = t.on_body(t.status(), {data, size});
    if (taken) return size;
    t.error = std::move(taken).error();
    return 0;
}

std::size_t on_header_line(char* data, std::size_t, std::size_t size, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    t.last_byte = std::chrono::steady_clock::now();
    std::string_view line(data, size);
    if (line.starts_with("HTTP/")) t.response.headers.clear();  // a new head after a 1xx
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return size;
    auto name = base::ascii_lower(line.substr(0, colon));
    const auto first = line.find_first_not_of(" \t", colon + 1);
    t.response.headers.emplace_back(std::move(name),
                                    first == std::string_view::npos ? "" : line.substr(first));
    return size;
}

/// The address that is really connected to: beats names that resolve to something else the second
/// time.
curl_socket_t open_checked(void* self, curlsocktype, curl_sockaddr* address) {
    auto& t = *static_cast<Transfer*>(self);
    if (!is_public_address(&address->addr)) {
        t.refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int check_reused(void* self, char* primary_ip, char*, int, int) {
    auto& t = *static_cast<Transfer*>(self);
    const auto url = std::string_view(primary_ip).find(':') == std::string_view::npos
                         ? fmt::format("https://{}/", primary_ip)
                         : fmt::format("https://[{}]/", primary_ip);
    if (check_user_url(url, false)) return CURL_PREREQFUNC_OK;
    t.refused = true;
    return CURL_PREREQFUNC_ABORT;
}

class CurlClient final : public Client {
 public:
    CurlClient(Executor executor, Options options)
        : executor_(executor),
          options_(std::move(options)),
          timer_(executor),
          alive_(std::make_shared<bool>(true)),
          multi_(curl_multi_init()) {
        curl_multi_setopt(
            multi_, CURLMOPT_SOCKETFUNCTION,
            +[](CURL*, curl_socket_t fd, int what, void* self, void*) {
                static_cast<CurlClient*>(self)->watch(fd, what);
                return 0;
            });
        curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
        curl_multi_setopt(
            multi_, CURLMOPT_TIMERFUNCTION, +[](CURLM*, long ms, void* self) {
                static_cast<CurlClient*>(self)->arm_timer(ms);
                return 0;
            });
        curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
        curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          static_cast<long>(options_.connections_max));
    }

    ~CurlClient() override {
        *alive_ = false;
        check(transfers_.empty(), "no transfer outlives its client");
        curl_multi_cleanup(multi_);
        for (auto& [fd, socket] : sockets_) socket->descriptor.release();
    }

    Task<Result<Response>> send(Request request, Deadline deadline) override {
        return perform(std::move(request), {}, deadline);
    }
    Task<Result<Response>> stream(Request request, OnBody on_body, Deadline deadline) override {
        return perform(std::move(request), std::move(on_body), deadline);
    }

 private:
    struct Socket {
        Socket(Executor executor, int fd) : descriptor(executor, fd) {}
        Descriptor descriptor;
        bool want_read = false, want_write = false, reading = false, writing = false, gone = false;
    };
    using SocketPtr = std::shared_ptr<Socket>;

    Task<Result<Response>> perform(Request request, OnBody on_body, Deadline deadline) {
        auto transfer = std::make_unique<Transfer>(executor_);
        transfer->request = std::move(request);
        transfer->on_body = std::move(on_body);
        CO_TRY_VOID(prepare(*transfer));
        struct Added {
            CurlClient& client;
            Transfer& transfer;
            Added(CurlClient& c, Transfer& t) : client(c), transfer(t) {
                client.transfers_.push_back(&transfer);
                curl_multi_add_handle(client.multi_, transfer.easy);
            }
            Added(const Added&) = delete;
            Added& operator=(const Added&) = delete;
            ~Added() {  // also when the caller is cancelled: the transfer is aborted
                curl_multi_remove_handle(client.multi_, transfer.easy);
                std::erase(client.transfers_, &transfer);
            }
        };
        const Added added(*this, *transfer);
        while (!transfer->finished) {
            co_await transfer->done.wait(deadline.capped(k_tick));
            if (!transfer->finished) CO_TRY_VOID(still_good(*transfer, deadline));
        }
        co_return outcome(*transfer);
    }

    static Result<void> still_good(const Transfer& t, Deadline deadline) {
        const auto now = std::chrono::steady_clock::now();
        const auto late = [](std::string_view why) {
            return fail(ErrorCode::timeout, "the service did not answer in time",
                        {.log = "HTTP: " + std::string(why), .source = "curl:28"});
        };
        if (deadline.passed()) return late("the deadline passed");
        if (!t.headers_done && now - t.started > t.request.first_byte_timeout)
            return late("no first byte in time");
        if (t.headers_done && now - t.last_byte > t.request.stall_timeout)
            return late("the body stopped coming");
        return {};
    }

    static Result<Response> outcome(Transfer& t) {
        if (t.error) return std::unexpected(std::move(*t.error));
        if (t.refused)
            return fail(ErrorCode::forbidden,
                        "this URL may not be fetched: the address is not public");
        if (t.code == CURLE_OK) {
            t.response.status = t.status();
            return std::move(t.response);
        }
        const auto log = fmt::format("HTTP: {}", curl_easy_strerror(t.code));
        const auto source = fmt::format("curl:{}", static_cast<int>(t.code));
        if (t.code == CURLE_OPERATION_TIMEDOUT)
            return fail(ErrorCode::timeout, "the service did not answer in time",
                        {.log = log, .source = source});
        if (t.code == CURLE_URL_MALFORMAT || t.code == CURLE_UNSUPPORTED_PROTOCOL) {
            return fail(ErrorCode::invalid, "this is not a usable URL",
                        {.log = log, .source = source});
        }
        return fail(ErrorCode::unavailable, "the service cannot be reached",
                    {.log = log, .source = source});
    }

    Result<void> prepare(Transfer& t) {
        auto& request = t.request;
        if (request.profile == Profile::user_supplied) {
            TRY(request.url, check_user_url(request.url, options_.allow_plain_http));
            curl_easy_setopt(t.easy, CURLOPT_OPENSOCKETFUNCTION, open_checked);
            curl_easy_setopt(t.easy, CURLOPT_OPENSOCKETDATA, &t);
            curl_easy_setopt(t.easy, CURLOPT_PREREQFUNCTION, check_reused);
            curl_easy_setopt(t.easy, CURLOPT_PREREQDATA, &t);
        }
        const bool plain =
            request.profile == Profile::operator_configured || options_.allow_plain_http;
        curl_easy_setopt(t.easy, CURLOPT_URL, request.url.c_str());
        curl_easy_setopt(t.easy, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
        curl_easy_setopt(t.easy, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(t.easy, CURLOPT_PROXY, "");
        curl_easy_setopt(t.easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
        curl_easy_setopt(t.easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(t.easy, CURLOPT_USERAGENT, "millrace");
        curl_easy_setopt(t.easy, CURLOPT_CONNECTTIMEOUT_MS,
                         static_cast<long>(request.connect_timeout.count()));
        curl_easy_setopt(t.easy, CURLOPT_WRITEFUNCTION, on_body_bytes);
        curl_easy_setopt(t.easy, CURLOPT_WRITEDATA, &t);
        curl_easy_setopt(t.easy, CURLOPT_HEADERFUNCTION, on_header_line);
        curl_easy_setopt(t.easy, CURLOPT_HEADERDATA, &t);
        curl_easy_setopt(t.easy, CURLOPT_PRIVATE, &t);
        if (request.method == "HEAD") {
            curl_easy_setopt(t.easy, CURLOPT_NOBODY, 1L);
        } else if (request.method != "GET") {
            curl_easy_setopt(t.easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
            curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, request.body.c_str());
            curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE,
                             static_cast<curl_off_t>(request.body.size()));
        }
        t.headers = curl_slist_append(t.headers, "Expect:");
        for (const auto& [name, value] : request.headers) {
            if ((name + value).find_first_of("\r\n") != std::string::npos)
                return fail(ErrorCode::invalid, "a header holds a line break");
            t.headers = curl_slist_append(t.headers, fmt::format("{}: {}", name, value).c_str());
        }
        curl_easy_setopt(t.easy, CURLOPT_HTTPHEADER, t.headers);
        for (const auto& entry : options_.resolve)
            t.resolve = curl_slist_append(t.resolve, entry.c_str());
        if (t.resolve) curl_easy_setopt(t.easy, CURLOPT_RESOLVE, t.resolve);
        return {};
    }

    void watch(curl_socket_t fd, int what) {
        auto found = sockets_.find(fd);
        if (what == CURL_POLL_REMOVE) {
            if (found == sockets_.end()) return;
            found->second->gone = true;
            found->second->descriptor.release();  // libcurl closes it
            sockets_.erase(found);
            return;
        }
        if (found == sockets_.end())
            found = sockets_.emplace(fd, std::make_shared<Socket>(executor_, fd)).first;
        auto& socket = *found->second;
        socket.want_read = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
        socket.want_write = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
        arm(found->second, fd);
    }

    void arm(const SocketPtr& socket, curl_socket_t fd) {
        const auto wait = [this, &socket, fd](bool Socket::* armed, Descriptor::wait_type type,
                                              int event) {
            (*socket).*armed = true;
            socket->descriptor.async_wait(type, [this, alive = alive_, socket, fd, armed,
                                                 event](const boost::system::error_code& ec) {
                (*socket).*armed = false;
                if (ec || !*alive || socket->gone) return;
                act(fd, event);
                if (*alive && !socket->gone) arm(socket, fd);
            });
        };
        if (socket->want_read && !socket->reading)
            wait(&Socket::reading, Descriptor::wait_read, CURL_CSELECT_IN);
        if (socket->want_write && !socket->writing)
            wait(&Socket::writing, Descriptor::wait_write, CURL_CSELECT_OUT);
    }

    void arm_timer(long ms) {
        if (ms < 0) {
            timer_.cancel();
            return;
        }
        timer_.expires_after(std::chrono::milliseconds(ms));
        timer_.async_wait([this, alive = alive_](const boost::system::error_code& ec) {
            if (!ec && *alive) act(CURL_SOCKET_TIMEOUT, 0);
        });
    }

    void act(curl_socket_t fd, int event) {
        int running = 0;
        curl_multi_socket_action(multi_, fd, event, &running);
        int left = 0;
        while (const auto* message = curl_multi_info_read(multi_, &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            Transfer* transfer = nullptr;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
            transfer->code = message->data.result;
            transfer->finished = true;
            transfer->done.set();
        }
    }

    Executor executor_;
    Options options_;
    async::Timer timer_;
    std::shared_ptr<bool> alive_;
    CURLM* multi_;
    std::map<curl_socket_t, SocketPtr> sockets_;
    std::vector<Transfer*> transfers_;
};

}  // namespace

std::string_view Response::header(std::string_view name) const noexcept {
    for (const auto& [key, value] : headers) {
        if (key == name) return value;
    }
    return {};
}

std::unique_ptr<Client> make_client(Executor executor, Options options) {
    static const bool initialised = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    check(initialised, "libcurl initialises");
    return std::make_unique<CurlClient>(std::move(executor), std::move(options));
}

}  // namespace millrace::http_client
