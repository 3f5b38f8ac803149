// Every named statement of the project, prepared and planned on a freshly migrated database under
// the role that runs it.

#include <doctest/doctest.h>
#include <libpq-fe.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>

#include "shared/base/uuid.hpp"
#include "shared/postgres/postgres.hpp"
#include "tests/support/env.hpp"
#include "workers/ops/embedded_sql.hpp"

using namespace millrace;

namespace {

struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
};
struct Clear {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, Clear>;

/// A blocking connection of the server's owner.
class Connection {
 public:
    explicit Connection(const std::string& database) {
        const auto dsn = tests::require_env("MILLRACE_PG_DSN");
        // A connection string inside "dbname" counts first; the "dbname" after it replaces its
        // database.
        const char* const keywords[] = {"dbname", "dbname", nullptr};
        const char* const values[] = {dsn.c_str(), database.c_str(), nullptr};
        connection_.reset(PQconnectdbParams(keywords, values, 1));
        REQUIRE_MESSAGE(PQstatus(connection_.get()) == CONNECTION_OK,
                        PQerrorMessage(connection_.get()));
        PQsetNoticeReceiver(connection_.get(), [](void*, const PGresult*) {}, nullptr);
    }
    /// What the server says against it; empty when it agrees.
    std::string exec(const std::string& sql) {
        return said(ResultPtr(PQexec(connection_.get(), sql.c_str())));
    }
    std::string prepare(const postgres::Statement& statement) {
        return said(
            ResultPtr(PQprepare(connection_.get(), statement.name, statement.sql, 0, nullptr)));
    }
    int parameters(const postgres::Statement& statement) {
        const ResultPtr described(PQdescribePrepared(connection_.get(), statement.name));
        REQUIRE(said(described) == "");
        return PQnparams(described.get());
    }

 private:
    static std::string said(const ResultPtr& result) {
        const auto status = PQresultStatus(result.get());
        return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK
                   ? ""
                   : PQresultErrorMessage(result.get());
    }
    std::unique_ptr<PGconn, Finish> connection_;
};

/// A database that goes when the test does, with every migration applied.
struct Migrated {
    Connection server{"postgres"};
    std::string name =
        "statements_" + std::regex_replace(base::uuid_v7().str(), std::regex("-"), "_");

    Migrated() {
        REQUIRE(server.exec("CREATE DATABASE " + name) == "");
        Connection owner(name);
        for (const auto& file : workers::ops::embedded_sql()) {
            CAPTURE(file.name);
            REQUIRE(owner.exec("BEGIN;\n" + std::string(file.text) + "\nCOMMIT;") == "");
        }
        // What `millrace-ops migrate` keeps its own account in.
        REQUIRE(owner.exec(
                    "CREATE TABLE schema_migrations (name text PRIMARY KEY, sha256 text NOT NULL, "
                    "applied_at timestamptz NOT NULL DEFAULT now())") == "");
    }
    ~Migrated() { (void)server.exec("DROP DATABASE " + name + " WITH (FORCE)"); }
    Migrated(const Migrated&) = delete;
    Migrated& operator=(const Migrated&) = delete;
};

/// Names of the statements in our sources, by file.
std::map<std::string, std::string> written_statements() {
    static const std::regex declared(R"re(\bStatement\s+k_\w+\s*[{(]\s*"([^"]+)")re");
    std::map<std::string, std::string> found;
    for (const auto* top : {"shared", "edge", "workers"}) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
            if (entry.path().extension() != ".cpp" && entry.path().extension() != ".hpp") continue;
            std::ifstream file(entry.path());
            std::stringstream text;
            text << file.rdbuf();
            const auto source = text.str();
            for (std::sregex_iterator at(source.begin(), source.end(), declared), end; at != end;
                 ++at) {
                found.emplace((*at)[1].str(), entry.path().string());
            }
        }
    }
    return found;
}

}  // namespace

TEST_CASE("every statement in the sources is in this program, under a name of its own") {
    std::set<std::string> registered;
    for (const auto* statement : postgres::all_statements()) {
        CHECK_MESSAGE(registered.insert(statement->name).second,
                      "two statements are named " << statement->name);
    }
    const auto written = written_statements();
    CHECK(written.size() >= 60);
    for (const auto& [name, file] : written) {
        CHECK_MESSAGE(registered.contains(name),
                      name << " of " << file
                           << " is missing: add its library to statement_owners in postgres.cmake");
    }
    CHECK(registered.size() == written.size());
}

TEST_CASE("every statement can be prepared and run by one of our roles on a fresh schema") {
    Migrated database;
    std::map<std::string, int> by_role;
    for (const auto* statement : postgres::all_statements()) {
        std::string why;
        bool good = false;
        for (const std::string role : {"millrace_pipeline", "millrace_app", "owner"}) {
            Connection connection(database.name);
            // The plan must not depend on values. What row security asks for is set as the services
            // set it.
            REQUIRE(connection.exec("SET plan_cache_mode = force_generic_plan; SET app.tenant = "
                                    "'01890000-0000-7000-8000-000000000000'") == "");
            if (role != "owner") REQUIRE(connection.exec("SET ROLE " + role) == "");
            auto said = connection.prepare(*statement);
            if (said.empty()) {
                // PostgreSQL looks at rights when a plan starts, not when it is prepared: EXPLAIN
                // starts it, and runs nothing.
                std::string arguments;
                for (int i = connection.parameters(*statement); i > 0; --i)
                    arguments += arguments.empty() ? "NULL" : ", NULL";
                said = connection.exec(std::string("EXPLAIN EXECUTE ") + statement->name +
                                       (arguments.empty() ? "" : "(" + arguments + ")"));
            }
            if (said.empty()) {
                good = true;
                ++by_role[role];
                break;
            }
            why += role + ": " + said;
        }
        CHECK_MESSAGE(good, statement->name << "\n" << why);
    }
    // The roles do differ: neither can do the other's work.
    CHECK(by_role["millrace_pipeline"] > 10);
    CHECK(by_role["millrace_app"] > 10);
}

TEST_CASE("a statement that does not fit the schema is noticed") {
    Migrated database;
    Connection connection(database.name);
    CHECK(connection.exec("PREPARE misfit AS SELECT no_such_column FROM jobs") != "");
    REQUIRE(connection.exec("SET ROLE millrace_pipeline") == "");
    REQUIRE(connection.exec("PREPARE forbidden AS SELECT id FROM users") == "");
    CHECK(connection.exec("EXPLAIN EXECUTE forbidden") != "");
}
