#include <doctest/doctest.h>

#include "shared/domain/diary/accounts.hpp"
#include "shared/domain/identity/common_passwords.hpp"

using namespace millrace;
using domain::diary::decode_profile;
using domain::diary::decode_registration;
using domain::identity::is_common_password;

namespace {

std::string field_of(const auto& result) {
    return result ? "" : result.error().field;
}

std::string registration(const std::string& members) {
    return R"({"email":"hanako@example.com","password":"correct horse",)" + members + "}";
}

}  // namespace

TEST_CASE("common passwords are known whatever their case, and others are not") {
    for (const char* word : {"password", "PassWord1", "12345678", "qwertyuiop", "iloveyou1"})
        CHECK_MESSAGE(is_common_password(word), word);
    for (const char* word : {"correct horse", "Password123", "passwor", "", "kq3Z-77v"})
        CHECK_MESSAGE(!is_common_password(word), word);
}

TEST_CASE("a registration's defaults, and all of its members") {
    const auto least = decode_registration(registration(R"("profile":null)"));
    REQUIRE(least);
    CHECK(least->locale == "ja");
    CHECK_FALSE(least->profile.name);
    CHECK_FALSE(least->profile.ai_public);
    CHECK(least->profile.sensitive);
    const auto all = decode_registration(registration(
        R"("locale":"en","profile":{"name":"花子","icon":"https://a.example/i.png","occupation":"教師","age":34,"residence":"京都","ai_public":true,"sensitive":false})"));
    REQUIRE(all);
    CHECK(
        json::dump(to_json(all->profile)) ==
        R"({"name":"花子","icon":"https://a.example/i.png","occupation":"教師","age":34,"residence":"京都","ai_public":true,"sensitive":false})");
}

TEST_CASE("what is wrong with a registration is named") {
    const auto of = [](std::string_view body) { return field_of(decode_registration(body)); };
    CHECK(of(R"({"password":"correct horse"})") == "email");
    CHECK(of(R"({"email":"hanako","password":"correct horse"})") == "email");
    CHECK(of(R"({"email":"hanako@example.com","password":"seven77"})") == "password");
    CHECK(of(R"({"email":"hanako@example.com","password":"PASSWORD1"})") == "password");
    CHECK(of(R"({"email":"hanako@example.com","password":"Hanako@Example.com"})") == "password");
    CHECK(of(R"({"email":"hanakosan@example.com","password":"hanakoSAN"})") == "password");
    CHECK(of(registration(R"("locale":"fr")")) == "locale");
    CHECK(of(registration(R"("profile":{"age":-1})")) == "profile.age");
    CHECK(of(registration(R"("profile":{"age":"34"})")) == "profile.age");
    CHECK(of(registration(R"("profile":{"icon":"javascript:x"})")) == "profile.icon");
    CHECK(of(registration(R"("profile":[])")) == "profile");
}

TEST_CASE("a profile that was stored reads as it was written") {
    const std::string text =
        R"({"name":null,"icon":null,"occupation":null,"age":0,"residence":null,"ai_public":true,"sensitive":false})";
    const auto profile = decode_profile(text);
    REQUIRE(profile);
    CHECK(json::dump(to_json(*profile)) == text);
}
