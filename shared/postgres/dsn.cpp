#include "shared/postgres/dsn.hpp"

#include <libpq-fe.h>

#include <memory>

namespace millrace::postgres {

Result<std::vector<std::pair<std::string, std::string>>> environment_of(const std::string& dsn) {
    char* why = nullptr;
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
        PQconninfoParse(dsn.c_str(), &why), PQconninfoFree);
    const std::unique_ptr<char, decltype(&PQfreemem)> reason(why, PQfreemem);
    if (!options) return fail(ErrorCode::invalid, "the connection string cannot be read");
    std::vector<std::pair<std::string, std::string>> out;
    for (const auto* option = options.get(); option->keyword != nullptr; ++option) {
        if (option->val != nullptr && option->envvar != nullptr)
            out.emplace_back(option->envvar, option->val);
    }
    return out;
}

}  // namespace millrace::postgres
