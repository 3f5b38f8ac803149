// shared/providers/objects against a real S3-compatible server that checks signatures: what every
// store does, and what becomes of it when the server refuses, dies, stalls or is not one.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "shared/providers/objects/objects.hpp"
#include "tests/support/http_server.hpp"
#include "tests/support/object_bench.hpp"
#include "tests/support/tcp_proxy.hpp"

using namespace millrace;
using namespace std::chrono_literals;
using providers::objects::S3Options;
namespace fs = std::filesystem;

namespace {

/// tests/support/s3_server.py, one for all cases of this file; it goes when its input is closed.
class S3Server {
 public:
    static S3Server& shared() {
        static S3Server server;
        return server;
    }
    config::Objects where;
    fs::path data;

 private:
    S3Server() {
        int to[2], from[2];
        check(::pipe2(to, O_CLOEXEC) == 0 && ::pipe2(from, O_CLOEXEC) == 0, "pipes can be made");
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
        std::string program = "python3", script = "tests/support/s3_server.py";
        char* const argv[] = {program.data(), script.data(), nullptr};
        check(::posix_spawnp(&child_, argv[0], &actions, nullptr, argv, environ) == 0,
              "the S3 server is started");
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(to[0]);
        ::close(from[1]);
        input_ = to[1];
        auto* said = ::fdopen(from[0], "r");
        const auto line = [said] {
            std::array<char, 512> text{};
            check(std::fgets(text.data(), text.size(), said) != nullptr, "the S3 server is up");
            const std::string_view all(text.data());
            return std::string(all.substr(0, all.find('\n')));
        };
        where.url = line();
        where.bucket = line();
        where.access_key = line();
        data = line();
        where.secret_key = line();
        where.region = "eu-north-1";
        ::fclose(said);
    }
    ~S3Server() {
        ::close(input_);
        ::waitpid(child_, nullptr, 0);
    }
    S3Server(const S3Server&) = delete;
    S3Server& operator=(const S3Server&) = delete;

    pid_t child_ = 0;
    int input_ = -1;
};

struct Bench final : tests::ObjectBench {
    std::unique_ptr<http_client::Client> http = http_client::make_client(loop.executor(), {});
    config::Objects where = S3Server::shared().where;

    explicit Bench(config::Objects other = S3Server::shared().where, S3Options options = {})
        : where(std::move(other)) {
        store = providers::objects::make_s3_store(loop.executor(), pool, *http, where, options);
    }
    ~Bench() override {
        loop.run(store->close());
        store.reset();
    }
    /// By the server's own notes: it takes parts of uploads that it has forgotten, and keeps them.
    [[nodiscard]] std::size_t unfinished() const override {
        std::size_t count = 0;
        for (const auto& entry :
             fs::recursive_directory_iterator(S3Server::shared().data / where.bucket)) {
            const auto path = entry.path().string();
            count += path.contains("/.mpus-") && path.ends_with("-stub") ? 1 : 0;
        }
        return count;
    }
};

/// Impatient, for what has to fail.
S3Options hasty() {
    return {.attempts = 3, .attempt = 400ms, .call = 1500ms, .pause = 5ms};
}

config::Objects at(std::string url) {
    auto where = S3Server::shared().where;
    where.url = std::move(url);
    return where;
}

/// What an operator reads.
std::string log_of(const Result<std::string>& result) {
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::unavailable);
    CHECK(result.error().detail == "the document store is not available now");
    CHECK(result.error().log.find(S3Server::shared().where.secret_key) == std::string::npos);
    return result.error().log;
}

}  // namespace

TEST_CASE("a bucket does what every object store does") {
    Bench bench;
    tests::check_object_store(bench);
}

TEST_CASE("what an operator got wrong is told by its setting") {
    auto where = S3Server::shared().where;
    where.secret_key = "another";
    Bench wrong_secret(where);
    CHECK(log_of(wrong_secret.get("t/one")).find("MILLRACE_OBJECT_SECRET_KEY") !=
          std::string::npos);
    CHECK(wrong_secret.put("t/one", {"x"}).error().code == ErrorCode::unavailable);
    CHECK_FALSE(wrong_secret.remove("t/one"));
    CHECK(wrong_secret.loop.run(wrong_secret.store->list("", "", 1)).error().code ==
          ErrorCode::unavailable);

    where = S3Server::shared().where;
    where.access_key = "NOBODY";
    Bench wrong_key(where);
    CHECK(log_of(wrong_key.get("t/one")).find("MILLRACE_OBJECT_ACCESS_KEY") != std::string::npos);

    where = S3Server::shared().where;
    where.bucket = "no-such-bucket";
    Bench wrong_bucket(where);
    CHECK(log_of(wrong_bucket.get("t/one")).find("MILLRACE_OBJECT_BUCKET") != std::string::npos);
    CHECK_FALSE(wrong_bucket.remove("t/one"));
    CHECK(wrong_bucket.put("t/one", {tests::pattern(6 << 20)}).error().code ==
          ErrorCode::unavailable);
}

TEST_CASE("keys that are not ours are refused before they are sent") {
    Bench bench;
    for (const auto* key : {"../x", "a//b", "", "a b", "a?uploads", "a/"}) {
        CAPTURE(key);
        CHECK(bench.put(key, {"x"}).error().code == ErrorCode::invalid);
        CHECK(bench.get(key).error().code == ErrorCode::invalid);
    }
}

TEST_CASE("a connection that dies is made again, a server that is away is said to be") {
    Bench direct;
    const auto url = tests::ServerUrl::parse(direct.where.url);
    tests::TcpProxy proxy(direct.loop.executor(), url);
    auto http = http_client::make_client(direct.loop.executor(), {});
    auto store = providers::objects::make_s3_store(direct.loop.executor(), direct.pool, *http,
                                                   at(url.at(proxy.port())), hasty());
    auto upload = direct.loop.run(store->create("dies/one"));
    REQUIRE(upload);
    const auto whole = tests::pattern(11 << 20);
    REQUIRE(direct.loop.run((*upload)->write(whole.substr(0, 6 << 20))));
    proxy.cut();
    REQUIRE(direct.loop.run((*upload)->write(whole.substr(6 << 20))));
    proxy.cut();
    REQUIRE(direct.loop.run((*upload)->finish()));
    CHECK(direct.get("dies/one") == whole);

    proxy.refuse();
    proxy.cut();
    CHECK(log_of(direct.loop.run(store->read("dies/one", 100))).find(url.at(proxy.port())) !=
          std::string::npos);
    proxy.accept_again();
    CHECK(direct.loop.run(store->read("dies/one", whole.size())) == whole);
    CHECK(direct.remove("dies/one"));
    direct.loop.run(store->close());
}

TEST_CASE("an upload whose part could not be sent never becomes an object") {
    Bench direct;
    const auto url = tests::ServerUrl::parse(direct.where.url);
    tests::TcpProxy proxy(direct.loop.executor(), url);
    auto http = http_client::make_client(direct.loop.executor(), {});
    auto store = providers::objects::make_s3_store(direct.loop.executor(), direct.pool, *http,
                                                   at(url.at(proxy.port())), hasty());
    {
        auto upload = direct.loop.run(store->create("half/one"));
        REQUIRE(upload);
        REQUIRE(direct.loop.run((*upload)->write(tests::pattern(6 << 20))));
        CHECK(direct.unfinished() == 1);
        proxy.refuse();
        proxy.cut();
        CHECK_FALSE(direct.loop.run((*upload)->write(tests::pattern(6 << 20))));
        proxy.accept_again();
        CHECK_FALSE(direct.loop.run((*upload)->finish()));
    }
    direct.loop.run(store->close());
    CHECK(direct.unfinished() == 0);
    CHECK(direct.get("half/one").error().code == ErrorCode::not_found);
}

TEST_CASE("a server that stalls costs the deadline and no more") {
    Bench direct;
    const auto url = tests::ServerUrl::parse(direct.where.url);
    tests::TcpProxy proxy(direct.loop.executor(), url);
    proxy.freeze();
    Bench bench(at(url.at(proxy.port())), hasty());
    // The proxy lives on the other bench's loop, which stands still: as silent as frozen.
    const auto started = std::chrono::steady_clock::now();
    log_of(bench.get("t/one"));
    const auto took = std::chrono::steady_clock::now() - started;
    CHECK(took >= 800ms);  // more than one attempt
    CHECK(took < 2500ms);
}

TEST_CASE("a server that fails is asked again, one that is something else is not believed") {
    Bench bench;
    tests::HttpServer server(bench.loop.executor());
    auto http = http_client::make_client(bench.loop.executor(), {});
    auto store = providers::objects::make_s3_store(
        bench.loop.executor(), bench.pool, *http,
        at(fmt::format("http://127.0.0.1:{}", server.port())), hasty());
    const auto answer = [](std::string_view status, std::string_view body) {
        return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n\r\n{}", status, body.size(),
                           body);
    };
    server.script({answer("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")});
    CHECK(log_of(bench.loop.run(store->read("t/one", 10))).find("SlowDown") != std::string::npos);
    CHECK(server.requests().size() == 3);
    // A wrong MILLRACE_OBJECT_URL must not make documents look deleted.
    server.script({answer("404 Not Found", "<html>nothing here</html>")});
    CHECK(log_of(bench.loop.run(store->read("t/one", 10))).find("404") != std::string::npos);
    CHECK_FALSE(bench.loop.run(store->remove("t/one")));
    // Completion may fail after its 200.
    server.script({answer("200 OK", "<Error><Code>InternalError</Code></Error>")});
    auto upload = bench.loop.run(store->create("t/one"));
    CHECK_FALSE(bench.loop.run((*upload)->write(tests::pattern(6 << 20))));
    upload->reset();
    bench.loop.run(store->close());
}
