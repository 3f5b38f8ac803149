// floor_libpq: what the database alone takes for accepting jobs. The edge's own statement, as it
// stands in shared/domain/jobs/accept.cpp, in the barest libpq loop: one connection in pipeline
// mode, two batches in flight, nothing between them but the building of parameters.
//
// usage: floor_libpq DSN BATCH SECONDS
// Prints {"backend": pid} and waits for a line on standard input, runs, prints its figures as one
// JSON object, and ends with standard input: so that whoever asked can read what the backend cost.

#include <fmt/format.h>
#include <libpq-fe.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "shared/base/crypto.hpp"
#include "shared/base/uuid.hpp"
#include "shared/domain/jobs/accept.hpp"
#include "shared/postgres/postgres.hpp"

using namespace millrace;

namespace {

constexpr int k_in_flight = 2;  // as the edge's batcher
constexpr auto k_statement = "jobs_accept";

// Pulls accept.cpp, and with it its statement, out of the library.
[[gnu::used]] const auto k_keep = &domain::jobs::Acceptor::accept;

[[noreturn]] void die(const std::string& why) {
    fmt::print(stderr, "floor_libpq: {}\n", why);
    std::exit(1);
}

const char* sql_of(const char* name) {
    for (const auto* statement : postgres::all_statements())
        if (std::strcmp(statement->name, name) == 0) return statement->sql;
    die("there is no such statement");
}

/// Jobs as POST /api/jobs makes them: one tenant, fresh keys, an input of about 300 bytes.
postgres::Params batch_of(std::size_t size) {
    static const auto tenant = base::uuid_v7(), owner = base::uuid_v7();
    static const std::string input = R"({"echo":")" + std::string(280, 'x') + "\"}";
    static const std::string trace(24, 't');
    std::vector<base::Uuid> ids;
    std::vector<base::Digest> digests;
    for (std::size_t i = 0; i < size; ++i) {
        ids.push_back(base::uuid_v7());
        digests.push_back(base::sha256(ids.back().str()));
    }
    std::vector<std::optional<postgres::Bytes>> keys;
    keys.reserve(size);
    for (const auto& digest : digests) {
        keys.emplace_back(
            postgres::Bytes{{reinterpret_cast<const char*>(digest.data()), digest.size()}});
    }
    const std::vector<base::Uuid> tenants(size, tenant), owners(size, owner);
    const std::vector<std::string> kinds(size, "probe.ok"), lanes(size, "interactive");
    const std::vector<std::optional<std::string>> order_keys(size);
    const std::vector<postgres::Bytes> traces(size, {trace}), inputs(size, {input});
    return postgres::Params::of(ids, tenants, owners, kinds, lanes, order_keys, traces, inputs,
                                keys, keys, base::uuid_v7());
}

class Loop {
 public:
    Loop(const char* dsn, std::size_t batch) : connection_(PQconnectdb(dsn)), batch_(batch) {
        if (PQstatus(connection_) != CONNECTION_OK) die(PQerrorMessage(connection_));
        command("SET ROLE millrace_pipeline");
        for (const auto& [name, value] : postgres::pinned_plans())
            command(fmt::format("SET {} = '{}'", name, value));
        std::vector<Oid> types;
        for (const auto& value : batch_of(1).values()) types.push_back(value.type);
        const auto sql = sql_of(k_statement);
        auto* prepared =
            PQprepare(connection_, k_statement, sql, static_cast<int>(types.size()), types.data());
        expect(prepared, PGRES_COMMAND_OK);
        if (PQenterPipelineMode(connection_) != 1) die(PQerrorMessage(connection_));
    }
    ~Loop() { PQfinish(connection_); }
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    [[nodiscard]] int backend() const { return PQbackendPID(connection_); }

    /// Jobs accepted in so much time.
    std::size_t run(std::chrono::duration<double> span) {
        const auto ends = std::chrono::steady_clock::now() + span;
        std::size_t jobs = 0;
        for (int i = 0; i < k_in_flight; ++i) send();
        while (std::chrono::steady_clock::now() < ends) {
            jobs += receive();
            send();
        }
        for (int i = 0; i < k_in_flight; ++i) jobs += receive();
        return jobs;
    }

 private:
    void command(const std::string& sql) {
        expect(PQexec(connection_, sql.c_str()), PGRES_COMMAND_OK);
    }
    void expect(PGresult* result, ExecStatusType status) {
        if (PQresultStatus(result) != status) die(PQerrorMessage(connection_));
        PQclear(result);
    }

    void send() {
        const auto params = batch_of(batch_);
        std::vector<const char*> values;
        std::vector<int> lengths;
        for (const auto& value : params.values()) {
            values.push_back(value.null ? nullptr : params.data().data() + value.offset);
            lengths.push_back(static_cast<int>(value.size));
        }
        const std::vector<int> binary(values.size(), 1);
        const bool sent =
            PQsendQueryPrepared(connection_, k_statement, static_cast<int>(values.size()),
                                values.data(), lengths.data(), binary.data(), 1) == 1 &&
            PQpipelineSync(connection_) == 1;
        if (!sent) die(PQerrorMessage(connection_));
    }

    std::size_t receive() {
        auto* rows = PQgetResult(connection_);
        const auto accepted = static_cast<std::size_t>(PQntuples(rows));
        expect(rows, PGRES_TUPLES_OK);
        if (PQgetResult(connection_) != nullptr) die("more results than statements");
        expect(PQgetResult(connection_), PGRES_PIPELINE_SYNC);
        if (accepted != batch_) die("a job was not accepted");
        return accepted;
    }

    PGconn* connection_;
    std::size_t batch_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        fmt::print(stderr, "usage: floor_libpq DSN BATCH SECONDS\n");
        return 2;
    }
    Loop loop(argv[1], std::strtoul(argv[2], nullptr, 10));
    const std::chrono::duration<double> span(std::atof(argv[3]));
    (void)loop.run(span / 5);  // caches and plans
    fmt::print("{{\"backend\":{}}}\n", loop.backend());
    std::fflush(stdout);
    std::string line;
    std::getline(std::cin, line);
    const auto began = std::chrono::steady_clock::now();
    const auto jobs = loop.run(span);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    fmt::print("{{\"jobs\":{},\"seconds\":{:.4f}}}\n", jobs, took.count());
    std::fflush(stdout);
    std::getline(std::cin, line);
}
