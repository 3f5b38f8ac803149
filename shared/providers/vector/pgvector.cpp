#include <bit>

#include "shared/providers/vector/vector.hpp"

namespace millrace::providers::vector {

namespace {

using namespace std::chrono_literals;
using postgres::Statement;

// $5 comes in halfvec's wire form: as text, reading it was two fifths of PostgreSQL's share of a
// new index.
const Statement k_upsert{"vectors_upsert", R"sql(
INSERT INTO chunk_vectors (tenant_id, file_id, generation, chunk_index, embedding)
SELECT $1, $2, $3, v.chunk_index, v.embedding FROM unnest($4::int[], $5::halfvec[]) AS v (chunk_index, embedding)
 ORDER BY v.chunk_index
ON CONFLICT (file_id, generation, chunk_index) DO UPDATE SET embedding = excluded.embedding)sql"};
const Statement k_type{"vectors_type", "SELECT 'halfvec'::regtype::oid::bigint"};
const Statement k_remove{"vectors_remove",
                         "DELETE FROM chunk_vectors WHERE file_id = $1 AND generation = $2"};
const Statement k_indexed{"vectors_indexed", R"sql(
SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(vector_index_name($1, $2))), false))sql"};
const Statement k_nearest{"vectors_nearest", R"sql(
SELECT file_id, generation, chunk_index, similarity FROM nearest_chunks($1::real[]::halfvec, $2, $3))sql"};
// Few documents of a large tenant: read and compared one by one, so that none is missed. The
// subquery has the cast done once, not per row.
const Statement k_among{"vectors_among", R"sql(
SELECT v.file_id, v.generation, v.chunk_index, -(v.embedding <#> (SELECT $1::real[]::halfvec))::real
  FROM unnest($3::uuid[], $4::bigint[]) AS w (file_id, generation)
  JOIN chunk_vectors v ON v.file_id = w.file_id AND v.generation = w.generation
 WHERE vector_dims(v.embedding) = vector_dims((SELECT $1::real[]::halfvec))
 ORDER BY v.embedding <#> (SELECT $1::real[]::halfvec) LIMIT $2)sql"};

constexpr auto k_index_look = 30s;  // how often it is asked whether a tenant has an index

void append_big_endian(std::string& out, std::uint16_t value) {
    out += static_cast<char>(value >> 8U);
    out += static_cast<char>(value & 0xFFU);
}

/// As halfvec_recv reads it: dimensions, a reserved 0, and the halves of IEEE 754.
std::string to_wire(const std::vector<float>& vector) {
    std::string out;
    out.reserve(4 + (2 * vector.size()));
    append_big_endian(out, static_cast<std::uint16_t>(vector.size()));
    append_big_endian(out, 0);
    for (const float value : vector)
        append_big_endian(out, std::bit_cast<std::uint16_t>(static_cast<_Float16>(value)));
    return out;
}

class PgVector final : public Store {
 public:
    PgVector(postgres::Database& app, PgVectorOptions options) : app_(app), options_(options) {}

    Task<Result<void>> upsert(base::TenantId tenant, base::FileId file, std::int64_t generation,
                              std::vector<Record> records, Deadline deadline) override {
        std::vector<std::int32_t> indexes;
        std::vector<std::string> vectors;
        for (const auto& record : records) {
            indexes.push_back(record.chunk_index);
            vectors.push_back(to_wire(record.values));
        }
        // Asked each time: where the extension is made anew, its types have new numbers.
        CO_TRY(const auto type, co_await app_.run(postgres::call(k_type), deadline));
        const postgres::ExtensionArray embeddings{type[0].get<std::int64_t>(0), vectors};
        auto done = co_await postgres::in_tenant(
            app_, tenant, postgres::call(k_upsert, tenant, file, generation, indexes, embeddings),
            deadline, postgres::Commit::asynchronous);
        if (!done && postgres::is_sqlstate(done.error(), "23503"))
            co_return fail(ErrorCode::not_found, "the document was deleted");
        if (!done) co_return std::unexpected(std::move(done).error());
        co_return Result<void>{};
    }

    Task<Result<void>> remove(base::TenantId tenant, base::FileId file, std::int64_t generation,
                              Deadline deadline) override {
        CO_TRY_VOID(co_await postgres::in_tenant(
            app_, tenant, postgres::call(k_remove, file, generation), deadline));
        co_return Result<void>{};
    }

    Task<Result<std::optional<std::vector<Match>>>> query(base::TenantId tenant,
                                                          std::vector<float> vector,
                                                          std::size_t limit, Searched searched,
                                                          Deadline deadline) override {
        CO_TRY(const bool index, co_await indexed(tenant, vector.size(), searched, deadline));
        if (!index) co_return std::optional<std::vector<Match>>();
        std::vector<base::Uuid> files;
        std::vector<std::int64_t> generations;
        if (!searched.all) {
            for (const auto& [file, generation] : searched.files) {
                files.push_back(file.uuid);
                generations.push_back(generation);
            }
        }
        const auto wanted = static_cast<std::int32_t>(limit);
        const bool few = !searched.all && searched.chunks <= options_.index_above;
        CO_TRY(const auto rows,
               co_await postgres::in_tenant(
                   app_, tenant,
                   few ? postgres::call(k_among, vector, wanted, files, generations)
                       : postgres::call(k_nearest, vector, wanted, files),
                   deadline));
        std::vector<Match> out;
        for (std::size_t r = 0; r < rows.size(); ++r) {
            out.push_back({rows[r].get<base::FileId>(0), rows[r].get<std::int64_t>(1),
                           rows[r].get<std::int32_t>(2), rows[r].get<double>(3)});
        }
        co_return std::optional(std::move(out));
    }

    [[nodiscard]] bool external() const noexcept override { return false; }

 private:
    /// Whether the tenant is large and has an index of these dimensions.
    Task<Result<bool>> indexed(base::TenantId tenant, std::size_t dimensions,
                               const Searched& searched, Deadline deadline) {
        if (!searched.live || searched.of_all <= options_.index_above) co_return false;
        auto& known = known_[{tenant, dimensions}];
        const auto now = std::chrono::steady_clock::now();
        if (known.asked + k_index_look > now) co_return known.indexed;
        CO_TRY(const auto rows,
               co_await postgres::in_tenant(
                   app_, tenant,
                   postgres::call(k_indexed, tenant, static_cast<std::int32_t>(dimensions)),
                   deadline));
        known_[{tenant, dimensions}] = {now, rows[0].get<bool>(0)};
        co_return rows[0].get<bool>(0);
    }

    struct Known {
        base::SteadyTime asked{};
        bool indexed = false;
    };

    postgres::Database& app_;
    PgVectorOptions options_;
    std::map<std::pair<base::TenantId, std::size_t>, Known> known_;
};

}  // namespace

std::unique_ptr<Store> make_pgvector(postgres::Database& app, PgVectorOptions options) {
    return std::make_unique<PgVector>(app, options);
}

}  // namespace millrace::providers::vector
