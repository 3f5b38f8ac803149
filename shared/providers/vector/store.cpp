#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "shared/providers/vector/vector.hpp"

namespace millrace::providers::vector {

namespace {

const postgres::Statement k_stale{
    "vectors_stale", "SELECT tenant_id, file_id, generation FROM stale_external_vectors($1)"};
// Not while a late write may still arrive there: those are removed again next time.
const postgres::Statement k_forget{"vectors_forget", R"sql(
DELETE FROM external_vectors WHERE file_id = $1 AND generation = $2 AND written_at < now() - interval '1 hour')sql"};

constexpr std::int32_t k_sweep_max = 200;

}  // namespace

std::vector<float> normalized(std::vector<float> vector) {
    double squares = 0;
    for (const float value : vector) squares += static_cast<double>(value) * value;
    if (squares <= 0) return vector;
    const double length = std::sqrt(squares);
    for (float& value : vector) value = static_cast<float>(value / length);
    return vector;
}

std::string to_text(const std::vector<float>& vector) {
    return fmt::format("[{}]", fmt::join(vector, ","));
}

std::unique_ptr<Store> make_store(http_client::Client& http, postgres::Database& app,
                                  const config::Vectors& config) {
    if (config.pinecone_url.empty()) return make_pgvector(app, {.index_above = config.index_above});
    return make_pinecone(http, app, {.base_url = config.pinecone_url, .key = config.pinecone_key});
}

Task<Result<std::size_t>> sweep(Store& store, postgres::Database& app, Deadline deadline) {
    CO_TRY(const auto stale, co_await app.run(postgres::call(k_stale, k_sweep_max), deadline));
    for (std::size_t r = 0; r < stale.size(); ++r) {
        const auto tenant = stale[r].get<base::TenantId>(0);
        const auto file = stale[r].get<base::FileId>(1);
        const auto generation = stale[r].get<std::int64_t>(2);
        CO_TRY_VOID(co_await store.remove(tenant, file, generation, deadline));
        CO_TRY_VOID(co_await postgres::in_tenant(
            app, tenant, postgres::call(k_forget, file, generation), deadline));
    }
    co_return stale.size();
}

}  // namespace millrace::providers::vector
