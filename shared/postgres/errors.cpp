#include <fmt/format.h>

#include "shared/postgres/result.hpp"

namespace millrace::postgres {

namespace {

constexpr std::string_view k_ambiguous = "ambiguous";

/// What a caller should do about a SQLSTATE (PostgreSQL manual, appendix A).
ErrorCode code_of(std::string_view state) {
    const auto kind = state.substr(0, 2);
    if (state == "57014") return ErrorCode::timeout;      // statement_timeout, or cancelled
    if (state == "55P03") return ErrorCode::unavailable;  // lock_timeout
    if (state == "23505" || state == "23P01") return ErrorCode::conflict;
    if (kind == "MR") return ErrorCode::conflict;  // our own functions
    if (kind == "22" || kind == "23") return ErrorCode::invalid;
    if (kind == "40")
        return ErrorCode::unavailable;  // serialization failure, deadlock: run it again
    if (kind == "08" || kind == "53" || kind == "57") return ErrorCode::unavailable;
    return ErrorCode::internal;
}

std::string_view field(const PGresult* result, int code) {
    const char* text = PQresultErrorField(result, code);
    return text ? std::string_view(text) : std::string_view{};
}

}  // namespace

Error error_of(const PGresult* result) {
    const auto state = field(result, PG_DIAG_SQLSTATE);
    const auto constraint = field(result, PG_DIAG_CONSTRAINT_NAME);
    Error error{.code = code_of(state),
                .detail = "the request could not be stored",
                .log = {},
                .field = {},
                .reason = {}};
    error.log = fmt::format("PostgreSQL {}: {}", state, field(result, PG_DIAG_MESSAGE_PRIMARY));
    error.source =
        constraint.empty() ? std::string(state) : fmt::format("{}:{}", state, constraint);
    return error;
}

Error broken(std::string_view why, bool sent) {
    Error error{.code = ErrorCode::unavailable,
                .detail = "the database cannot be reached",
                .log = {},
                .field = {},
                .reason = {}};
    error.log = why;
    error.source = sent ? k_ambiguous : std::string_view("08006");
    error.retry_after = std::chrono::seconds(1);
    return error;
}

Error late(bool sent) {
    Error error{.code = ErrorCode::timeout,
                .detail = "the database did not answer in time",
                .log = {},
                .field = {},
                .reason = {}};
    error.log = "the deadline of a statement passed";
    error.source = sent ? k_ambiguous : std::string_view("57014");
    error.retry_after = std::chrono::seconds(1);
    return error;
}

bool is_sqlstate(const Error& error, std::string_view sqlstate, std::string_view constraint) {
    const std::string_view source = error.source;
    if (!source.starts_with(sqlstate)) return false;
    if (source.size() == sqlstate.size()) return constraint.empty();
    return source[sqlstate.size()] == ':' &&
           (constraint.empty() || source.substr(sqlstate.size() + 1) == constraint);
}

bool is_ambiguous(const Error& error) {
    return error.source == k_ambiguous;
}

namespace {
std::vector<const Statement*>& registry() {
    static std::vector<const Statement*> all;
    return all;
}
}  // namespace

Statement::Statement(const char* n, const char* s) : name(n), sql(s) {
    registry().push_back(this);
}

const std::vector<const Statement*>& all_statements() {
    return registry();
}

std::vector<std::pair<std::string, std::string>> pinned_plans() {
    return {{"plan_cache_mode", "force_generic_plan"},
            {"enable_seqscan", "off"},
            {"enable_hashjoin", "off"},
            {"enable_mergejoin", "off"},
            {"jit", "off"}};
}

}  // namespace millrace::postgres
