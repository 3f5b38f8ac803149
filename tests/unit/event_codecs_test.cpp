// Every example in schemas/events is read by the codec of its type and comes out of it as the same
// JSON; a member of the wrong type is refused by name. That the examples fit their schemas is
// tests/e2e/test_schemas.py's.

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <ranges>
#include <stdexcept>

#include "shared/base/crypto.hpp"
#include "shared/domain/knowledge/chats.hpp"
#include "shared/domain/knowledge/files.hpp"
#include "shared/domain/knowledge/generations.hpp"
#include "shared/domain/mail/letter.hpp"
#include "shared/json/writer.hpp"
#include "tests/support/probe_worker.hpp"
#include "tests/support/run_task.hpp"

using namespace millrace;
namespace knowledge = domain::knowledge;

namespace {

const std::filesystem::path k_folder = "schemas/events";  // tests run in the root of the repository
constexpr std::string_view k_suffix = ".example.json";

/// Decoded and encoded again.
using Codec = std::function<Result<std::string>(const std::string&)>;

Result<std::string> document_uploaded(const std::string& text) {
    TRY(const auto event, knowledge::parse_document_uploaded(text));
    return to_json(event);
}

Result<std::string> reindex_requested(const std::string& text) {
    TRY(const auto event, knowledge::parse_reindex_requested(text));
    return to_json(event);
}

Result<std::string> answer_requested(const std::string& text) {
    TRY(const auto event, knowledge::parse_answer_requested(text));
    return to_json(event);
}

/// probe.ok needs nothing of its attempt.
class NoAttempt final : public workers::runtime::Attempt {
 public:
    explicit NoAttempt(Executor executor) : executor_(std::move(executor)) {}
    domain::jobs::LiveWriter& live() override { throw std::logic_error("nobody listens"); }
    [[nodiscard]] Deadline deadline() const override {
        return Deadline::in(std::chrono::seconds(5));
    }
    Task<Result<void>> reserve(int, std::string_view, std::int64_t, std::int64_t) override {
        co_return Result<void>{};
    }
    Task<Result<void>> spend(workers::runtime::Spend) override { co_return Result<void>{}; }
    [[nodiscard]] Executor executor() const override { return executor_; }

 private:
    Executor executor_;
};

Task<Result<workers::runtime::Outcome>> run_probe(std::string input,
                                                  workers::runtime::Attempt& attempt) {
    workers::runtime::Job job{};
    job.input = std::move(input);
    co_return co_await tests::probe_handlers().at("probe.ok")(std::move(job), attempt);
}

/// The probe has a decoder and no encoder: the edge hands on what the client sent. What came out of
/// `echo` is in its result.
Result<std::string> probe_requested(const std::string& text) {
    asio::io_context io(1);
    NoAttempt attempt(io.get_executor());
    TRY(const auto outcome, tests::run_task(io, run_probe(text, attempt)));
    auto again = boost::json::parse(text).as_object();
    again["echo"] = boost::json::parse(outcome.result).at("echo");
    return json::dump(again);
}

/// The secret is sealed anew by every encoding: what comes out is unsealed, compared, and the
/// example's put back.
Result<std::string> mail_requested(const std::string& text) {
    static const auto catalog = events::Catalog::load("", "");
    REQUIRE(catalog.has_value());
    base::crypto_init();
    const std::string key(32, 'k');
    auto document = boost::json::parse(text);
    auto* const object = document.if_object();
    auto* const secret = object ? object->if_contains("secret") : nullptr;
    const auto sealed = secret ? *secret : json::Value();
    auto asked = domain::mail::make_job({.secret = "123456"}, *catalog, key, {});
    if (sealed.is_string()) *secret = boost::json::parse(asked.input).at("secret");
    TRY(const auto letter, domain::mail::parse_letter(json::dump(document), asked.id, {key}));
    const auto job = domain::mail::make_job(letter, *catalog, key, {});
    auto again = boost::json::parse(job.input);
    if (sealed.is_string()) {
        CHECK(domain::mail::parse_letter(job.input, job.id, {key})->secret == "123456");
        CHECK(job.input.find("123456") == std::string::npos);
        again.as_object()["secret"] = sealed;
    }
    return json::dump(again);
}

const std::map<std::string, Codec>& codecs() {
    static const std::map<std::string, Codec> all = {
        {"millrace.document.uploaded.v1", document_uploaded},
        {"millrace.reindex.requested.v1", reindex_requested},
        {"millrace.answer.requested.v1", answer_requested},
        {"millrace.mail.requested.v1", mail_requested},
        {"millrace.probe.requested.v1", probe_requested}};
    return all;
}

std::string example(const std::string& type) {
    std::ifstream file(k_folder / (type + std::string(k_suffix)), std::ios::binary);
    REQUIRE_MESSAGE(file.good(), type);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// The example with one member, "object.size", replaced.
std::string changed(const std::string& type, std::string_view path, const json::Value& value) {
    auto document = boost::json::parse(example(type));
    auto* at = &document;
    for (const auto part : std::views::split(path, '.'))
        at = &at->as_object()[std::string_view(part)];
    *at = value;
    return json::dump(document);
}

struct Wrong {
    std::string type, path;
    json::Value value;
};

}  // namespace

TEST_CASE("every example survives its codec") {
    std::size_t examples = 0;
    for (const auto& entry : std::filesystem::directory_iterator(k_folder)) {
        const auto name = entry.path().filename().string();
        if (!name.ends_with(k_suffix)) continue;
        ++examples;
        const auto type = name.substr(0, name.size() - k_suffix.size());
        CAPTURE(type);
        REQUIRE(codecs().contains(type));
        const auto text = example(type);
        const auto again = codecs().at(type)(text);
        REQUIRE_MESSAGE(again.has_value(), (again ? "" : again.error().detail));
        CHECK(boost::json::parse(*again) == boost::json::parse(text));
    }
    CHECK(examples == codecs().size());
}

TEST_CASE("what a codec does not know, it ignores") {
    for (const auto& [type, codec] : codecs())
        CHECK(codec(changed(type, "a_later_version_has_this", true)).has_value());
}

TEST_CASE("an answer's model may be absent") {
    auto document = boost::json::parse(example("millrace.answer.requested.v1"));
    document.as_object().erase("model");
    const auto again = answer_requested(json::dump(document));
    REQUIRE(again.has_value());
    CHECK(boost::json::parse(*again) == document);
}

TEST_CASE("a wrong member is refused by its name") {
    const std::string document = "millrace.document.uploaded.v1";
    const std::string answer = "millrace.answer.requested.v1";
    const std::string reindex = "millrace.reindex.requested.v1";
    const std::string probe = "millrace.probe.requested.v1";
    const std::string mail = "millrace.mail.requested.v1";
    const std::vector<Wrong> cases = {{document, "file_id", "no uuid"},
                                      {document, "file_name", 7},
                                      {document, "object.size", "1024000"},
                                      {document, "object.sha256", "too short"},
                                      {document, "index_generation", 1},
                                      {reindex, "index_generation", "no uuid"},
                                      {answer, "query", json::Array{}},
                                      {answer, "query", ""},
                                      {answer, "conversation_id", nullptr},
                                      {answer, "model", 4},
                                      {answer, "top_k", 5.5},
                                      {answer, "top_k", 21},
                                      {answer, "temperature", "0.7"},
                                      {answer, "max_tokens", true},
                                      {mail, "template", ""},
                                      {mail, "locale", "fr"},
                                      {mail, "to", 1},
                                      {mail, "data", "otp"},
                                      {mail, "secret", 123456},
                                      {mail, "challenge_id", "no uuid"},
                                      {mail, "needs_account", "yes"},
                                      {probe, "text", 1},
                                      {probe, "ms", "20"},
                                      {probe, "times", 1001}};
    for (const auto& [type, path, value] : cases) {
        CAPTURE(type);
        CAPTURE(path);
        const auto field = type == probe ? "input." + path : path;
        const auto result = codecs().at(type)(changed(type, path, value));
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().code == ErrorCode::invalid);
        CHECK(result.error().field == field);
        CHECK(result.error().detail.starts_with(field + ": "));
    }
    for (const auto& [type, codec] : codecs()) CHECK_FALSE(codec("[1]").has_value());
}

TEST_CASE("so is a whole object that is missing or is none") {
    for (const auto& value :
         {json::Value(nullptr), json::Value("a string"), json::Value(json::Array{})}) {
        const auto result =
            document_uploaded(changed("millrace.document.uploaded.v1", "object", value));
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error().field == "object");
    }
}
