// shared/providers/objects: signatures as AWS documents them and as botocore makes them, answers of
// a service and what only looks like one; and which settings choose a store.

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "shared/base/crypto.hpp"
#include "shared/config/groups.hpp"
#include "shared/providers/objects/s3_answers.hpp"
#include "shared/providers/objects/s3_signature.hpp"

using namespace millrace;
using namespace millrace::providers::objects;

namespace {

std::string hash(std::string_view body) {
    return base::hex(base::sha256(body));
}

std::string signature(const Signer& signer, const ToSign& request, std::string_view when) {
    const auto headers = sign(signer, request, *base::parse_rfc3339(when));
    const auto& text = headers.front().second;
    return text.substr(text.rfind('=') + 1);
}

// The key of all examples in "Signature Calculations for the Authorization Header".
const Signer k_example{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                       "us-east-1"};
constexpr std::string_view k_example_host = "examplebucket.s3.amazonaws.com";
constexpr std::string_view k_example_time = "2013-05-24T00:00:00Z";

ToSign example(std::string method, std::string path, Fields query, Fields headers,
               std::string_view body = "") {
    return {.method = std::move(method),
            .host = std::string(k_example_host),
            .path = std::move(path),
            .query = std::move(query),
            .headers = std::move(headers),
            .body_hash = hash(body)};
}

}  // namespace

TEST_CASE("signatures are those of AWS's published examples") {
    CHECK(signature(k_example, example("GET", "/test.txt", {}, {{"range", "bytes=0-9"}}),
                    k_example_time) ==
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    CHECK(signature(k_example,
                    example("PUT", "/test$file.text", {},
                            {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                             {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                            "Welcome to Amazon S3."),
                    k_example_time) ==
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    CHECK(signature(k_example, example("GET", "/", {{"lifecycle", ""}}, {}), k_example_time) ==
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    CHECK(signature(k_example, example("GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}),
                    k_example_time) ==
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("signatures are those that botocore makes") {
    const Signer ours{"AKTESTSOFMILLRACE", "a secret/of+tests=", "eu-north-1"};
    const auto at = "2026-11-27T23:05:09Z";
    CHECK(signature(ours,
                    {.method = "GET",
                     .host = "127.0.0.1:9000",
                     .path = "/documents",
                     .query = {{"start-after", "z=&"},
                               {"prefix", "a/b c+é~"},
                               {"list-type", "2"},
                               {"max-keys", "1000"}},
                     .headers = {},
                     .body_hash = hash("")},
                    at) == "c50386225810607b4c734373e9d913a786f3ee5cfc0568e23b107e00faace4d9");
    CHECK(signature(ours,
                    {.method = "PUT",
                     .host = "store.example.com",
                     .path = "/documents/0199-aa/x_y.z",
                     .query = {{"uploadId", "2~Ab/C+=="}, {"partNumber", "12"}},
                     .headers = {},
                     .body_hash = hash("some bytes")},
                    at) == "220fbc132e446f93838c7979f581fb886653abe91371876ee10e6412343383f8");
    CHECK(signature(ours,
                    {.method = "POST",
                     .host = "store.example.com",
                     .path = "/documents/t/f",
                     .query = {{"uploads", ""}},
                     .headers = {},
                     .body_hash = hash("")},
                    at) == "0dbb8f6b37f012d5297936cc6a617ea638c5eeea18be1a8a966d3362a7c1472b");
}

TEST_CASE("a page of objects") {
    const auto page = parse_object_page(R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><IsTruncated>true</IsTruncated>
<Contents><Key>t%2Fone+two</Key><Size>12</Size><LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>
<Contents><Key>t/three&amp;</Key><Size>0</Size><LastModified>2026-01-02T03:04:06Z</LastModified></Contents></ListBucketResult>)");
    REQUIRE(page);
    CHECK(page->more);
    REQUIRE(page->objects.size() == 2);
    CHECK(page->objects[0].key == "t/one two");
    CHECK(page->objects[0].size == 12);
    CHECK(base::rfc3339_millis(page->objects[0].modified) == "2026-01-02T03:04:05.678Z");
    CHECK(page->objects[1].key == "t/three&");
}

TEST_CASE("an answer that is something else is not taken for an empty list") {
    for (const auto* text :
         {"", "<html><body>404</body></html>", "<ListBucketResult>", "{}",
          "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
          "<ListBucketResult><Contents><Key>a</Key><Size>x</Size><LastModified>2026-01-02T03:04:06Z"
          "</LastModified></Contents></ListBucketResult>"}) {
        CAPTURE(text);
        CHECK(parse_object_page(text).error().code == ErrorCode::unavailable);
        CHECK(parse_upload_page(text).error().code == ErrorCode::unavailable);
        CHECK(parse_upload_id(text).error().code == ErrorCode::unavailable);
        CHECK(parse_complaint(text).code.empty());
    }
}

TEST_CASE("entities of a document's own are not expanded, files are not read") {
    const auto complaint = parse_complaint(
        R"(<!DOCTYPE Error [<!ENTITY f SYSTEM "file:///etc/passwd"><!ENTITY a "aaaa">]><Error><Code>&f;&a;x</Code></Error>)");
    CHECK(complaint.code == "x");
}

TEST_CASE("a store is configured whole, and one only") {
    const auto problems = [](std::map<std::string, std::string> environment) {
        config::Loader in(std::move(environment));
        (void)config::Objects::read(in);
        std::string all;
        for (const auto& problem : in.problems()) all += problem + "\n";
        return all;
    };
    const std::map<std::string, std::string> service{
        {"MILLRACE_OBJECT_URL", "https://s3.example.com/"},
        {"MILLRACE_OBJECT_BUCKET", "documents"},
        {"MILLRACE_OBJECT_ACCESS_KEY", "AK"},
        {"MILLRACE_OBJECT_SECRET_KEY", "SK"}};
    CHECK(problems(service).empty());
    CHECK(problems({{"MILLRACE_OBJECT_DIR", "/srv/objects"}}).empty());
    CHECK(problems({}).find("MILLRACE_OBJECT_DIR: must be set, or") == 0);
    for (const auto& [name, value] : service) {
        CAPTURE(name);
        auto half = service;
        half.erase(name);
        CHECK(problems(half).find(name + ": must be set where") == 0);
    }
    auto both = service;
    both["MILLRACE_OBJECT_DIR"] = "/srv/objects";
    CHECK(problems(both).find("one place only") != std::string::npos);
    for (const auto* url : {"s3.example.com", "ftp://s3.example.com", "https://", "https://a@b",
                            "https://s3.example.com/path", "https://s3.example.com?x"}) {
        CAPTURE(url);
        auto wrong = service;
        wrong["MILLRACE_OBJECT_URL"] = url;
        CHECK(problems(wrong).find("MILLRACE_OBJECT_URL: must be https://") == 0);
    }
    auto wrong = service;
    wrong["MILLRACE_OBJECT_BUCKET"] = "Documents/x";
    CHECK(problems(wrong).find("MILLRACE_OBJECT_BUCKET: must be") == 0);
}
