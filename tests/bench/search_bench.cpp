// Search in one process, as the rag worker does it. Prints one JSON object.
//   search_bench seed DSN TENANTS FIRST CHUNKS DIMENSIONS     documents of tenants FIRST…, made up
//   search_bench ask DSN TENANTS FIRST CHUNKS DIMENSIONS N    N questions per way of searching
//   search_bench churn DSN TENANT CHUNKS DIMENSIONS SECONDS   questions while documents are
//   replaced search_bench scan CHUNKS DIMENSIONS                       bytes compared, to bytes
//   copied search_bench labelled DSN TENANT-ID URL MODEL QUESTIONS   nDCG@10 by words, by meaning,
//   by both

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <set>

#include "shared/domain/knowledge/files.hpp"
#include "shared/domain/knowledge/search.hpp"
#include "shared/json/reader.hpp"
#include "shared/json/writer.hpp"
#include "shared/providers/embedding/embedding.hpp"
#include "tests/bench/search_corpus.hpp"

using namespace millrace;
using namespace millrace::bench;
using namespace std::chrono_literals;
namespace knowledge = domain::knowledge;
namespace vector = providers::vector;
using Clock = std::chrono::steady_clock;
using Arguments = std::vector<std::string>;

namespace {

const postgres::Statement k_exact{"bench_exact", R"sql(
SELECT v.file_id, v.chunk_index FROM chunk_vectors v JOIN files f ON f.id = v.file_id AND f.generation = v.generation
 WHERE v.tenant_id = $1 ORDER BY v.embedding <#> (SELECT $2::text::halfvec) LIMIT $3)sql"};

template <class T>
T must(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().detail + " " + result.error().log);
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}
double ms_since(Clock::time_point began) {
    return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}
Deadline soon() {
    return Deadline::in(120s);
}

json::Object quantiles(std::vector<double> values) {
    std::ranges::sort(values);
    const auto at = [&](double q) {
        return values[std::min(values.size() - 1,
                               static_cast<std::size_t>(q * static_cast<double>(values.size())))];
    };
    return {{"p50", at(0.5)}, {"p95", at(0.95)}, {"p99", at(0.99)}};
}

struct Bench {
    asio::io_context& io;
    std::string dsn;
    std::unique_ptr<postgres::Database> app =
        postgres::make_database(io.get_executor(), {.dsn = dsn,
                                                    .role = "millrace_app",
                                                    .application_name = "search_bench",
                                                    .statement_timeout = 60s});
    std::unique_ptr<vector::Store> exact = vector::make_pgvector(*app, {.index_above = INT64_MAX});
    std::unique_ptr<vector::Store> indexed = vector::make_pgvector(*app, {.index_above = 10'000});
};

/// Writes a document's chunks as the embedding worker does, and publishes them.
Task<void> write(Bench& bench, const Corpus& corpus, int tenant, int file, int chunks) {
    const auto id = tenant_id(tenant);
    knowledge::Files files(*bench.app);
    const auto generation = must(co_await files.next_generation(soon()));
    std::vector<knowledge::StagedChunk> staged;
    std::vector<vector::Record> records;
    for (int c = 0; c < chunks; ++c) {
        auto chunk = corpus.chunk(tenant, file * k_chunks_per_file + c);
        auto terms = knowledge::encode_terms(knowledge::count_chunk_terms("", chunk.text));
        staged.push_back({c, c + 1, c + 1, std::move(chunk.text), std::move(terms)});
        records.push_back({c, std::move(chunk.vector)});
    }
    must(co_await files.stage(id, file_id(tenant, file), generation, std::move(staged), soon()));
    must(co_await bench.exact->upsert(id, file_id(tenant, file), generation, std::move(records),
                                      soon()));
    auto calls = knowledge::publish_generation(id, file_id(tenant, file), generation, chunks);
    calls.insert(calls.begin(), postgres::set_tenant(id));
    must(co_await bench.app->transaction(std::move(calls), soon()));
}

Task<void> seed(asio::io_context& io, Arguments in) {
    const int tenants = std::stoi(in[1]), first = std::stoi(in[2]), chunks = std::stoi(in[3]);
    const Corpus corpus(std::stoul(in[4]));
    Bench bench{io, in[0]};
    const auto owner = postgres::make_database(
        io.get_executor(),
        {.dsn = in[0], .application_name = "search_bench", .statement_timeout = 60s});
    must(co_await bench.app->wait_connected(soon()));
    const auto began = Clock::now();
    for (int tenant = first; tenant < first + tenants; ++tenant) {
        std::string sql = fmt::format("INSERT INTO tenants (id, name) VALUES ('{}', 'bench');",
                                      tenant_id(tenant).str());
        const int files = chunks / k_chunks_per_file + 1;
        for (int file = 0; file < files; ++file) {
            sql += fmt::format(
                "INSERT INTO files (id, tenant_id, uploaded_by, file_name, file_type, title, tags, "
                "file_size, object_key, sha256, job_id) VALUES ('{0}', '{1}', '{1}', '{2}.txt', "
                "'txt', 't', '{{{3}}}', 1, '{0}', '', '{1}');",
                file_id(tenant, file).str(), tenant_id(tenant).str(), file,
                file + 1 == files ? "rare" : "common");
        }
        must(co_await owner->script(sql, soon()));
        for (int file = 0; file < files; ++file)
            co_await write(bench, corpus, tenant, file,
                           file + 1 == files ? k_rare_chunks : k_chunks_per_file);
    }
    must(co_await owner->script("VACUUM ANALYZE chunks", soon()));
    must(co_await owner->script("VACUUM ANALYZE chunk_vectors", soon()));
    fmt::print("{}\n", json::dump(json::Object{{"chunks", tenants * chunks},
                                               {"seconds", ms_since(began) / 1000}}));
    co_await owner->close();
    co_await bench.app->close();
}

using Found = std::set<std::pair<base::FileId, std::int32_t>>;
Found found_of(const std::vector<knowledge::Hit>& hits) {
    Found out;
    for (const auto& hit : hits) out.insert({hit.file, hit.chunk_index});
    return out;
}

/// Some questions to some tenants, in one way of searching.
struct Way {
    Bench& bench;
    const Corpus& corpus;
    int tenants, first, chunks, questions;
    bool words, meaning;
    vector::Store* store;  ///< null: one statement, comparing all in PostgreSQL
    std::unique_ptr<knowledge::Searcher> searcher{};
    std::vector<double> warm{}, cold{};
    std::vector<Found> found{};

    knowledge::SearchQuery query(int number) const {
        const int tenant = first + number % tenants;
        auto asked = corpus.question(tenant, number * 37 % chunks);
        return {.tenant = tenant_id(tenant),
                .question = words ? asked.text : "",
                .vector = meaning ? asked.vector : std::vector<float>{},
                .limit = 10};
    }
    Task<void> ask(int number, std::vector<double>& times) {
        auto asked = query(number);
        const auto began = Clock::now();
        if (store) {
            const auto got = must(co_await searcher->search(std::move(asked), soon()));
            times.push_back(ms_since(began));
            found.push_back(found_of(got.hits));
            co_return;
        }
        std::vector<postgres::Call> calls;
        calls.push_back(postgres::set_tenant(asked.tenant));
        calls.push_back(
            postgres::call(k_exact, asked.tenant, vector::to_text(asked.vector), std::int64_t{10}));
        const auto rows = must(co_await bench.app->transaction(std::move(calls), soon()));
        times.push_back(ms_since(began));
        Found got;
        for (std::size_t r = 0; r < rows[1].size(); ++r)
            got.insert({rows[1][r].get<base::FileId>(0), rows[1][r].get<std::int32_t>(1)});
        found.push_back(std::move(got));
    }
    Task<json::Object> run() {
        if (store)
            searcher =
                std::make_unique<knowledge::Searcher>(bench.io.get_executor(), *bench.app, *store);
        for (int number = 0; number < tenants; ++number) co_await ask(number, cold);
        found.clear();
        for (int number = 0; number < questions; ++number) co_await ask(number, warm);
        auto out = quantiles(warm);
        out["first p50"] = quantiles(cold)["p50"];
        co_return out;
    }
};

double recall(const std::vector<Found>& found, const std::vector<Found>& expected) {
    std::size_t hits = 0, all = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        all += expected[i].size();
        for (const auto& one : expected[i]) hits += found[i].contains(one) ? 1U : 0U;
    }
    return static_cast<double>(hits) / static_cast<double>(all);
}

/// Of the few chunks that carry the rare tag, how many are found of those asked for, at worst.
Task<double> filtered(Way& way) {
    double worst = 1;
    for (int number = 0; number < 20; ++number) {
        for (const std::size_t wanted : {std::size_t{8}, std::size_t{50}}) {
            auto query = way.query(number);
            query.limit = wanted;
            query.filter.tags = {"rare"};
            const auto got = must(co_await way.searcher->search(std::move(query), soon()));
            worst = std::min(worst,
                             static_cast<double>(got.hits.size()) /
                                 static_cast<double>(std::min<std::size_t>(wanted, k_rare_chunks)));
        }
    }
    co_return worst;
}

Task<void> ask(asio::io_context& io, Arguments in) {
    const int tenants = std::stoi(in[1]), first = std::stoi(in[2]), chunks = std::stoi(in[3]);
    const Corpus corpus(std::stoul(in[4]));
    Bench bench{io, in[0]};
    must(co_await bench.app->wait_connected(soon()));
    const auto way = [&](bool words, bool meaning, vector::Store* store) {
        return Way{bench, corpus, tenants, first, chunks, std::stoi(in[5]), words, meaning, store};
    };
    auto sparse = way(true, false, bench.exact.get()), dense = way(false, true, bench.exact.get());
    auto hybrid = way(true, true, bench.exact.get()), server = way(false, true, nullptr);
    auto index = way(false, true, bench.indexed.get());
    json::Object out;
    out["sparse"] = co_await sparse.run();
    out["dense, in memory"] = co_await dense.run();
    out["hybrid"] = co_await hybrid.run();
    out["dense, in PostgreSQL"] = co_await server.run();
    out["dense, indexed"] = co_await index.run();
    out["recall in memory"] = recall(dense.found, server.found);
    out["recall indexed"] = recall(index.found, server.found);
    out["filtered in memory"] = co_await filtered(dense);
    out["filtered indexed"] = co_await filtered(index);
    fmt::print("{}\n", json::dump(out));
    co_await bench.app->close();
}

/// Questions, one after another, for a while; what they took.
Task<std::vector<double>> ask_for(Bench& bench, knowledge::Searcher& searcher, const Corpus& corpus,
                                  int tenant, int chunks, double seconds) {
    std::vector<double> times;
    const auto until = Clock::now() + std::chrono::duration<double>(seconds);
    for (int number = 0; Clock::now() < until; ++number) {
        auto asked = corpus.question(tenant, number * 37 % chunks);
        const auto began = Clock::now();
        must(co_await searcher.search({.tenant = tenant_id(tenant),
                                       .question = asked.text,
                                       .vector = asked.vector,
                                       .limit = 10},
                                      soon()));
        times.push_back(ms_since(began));
        co_await async::delay(bench.io.get_executor(), 5ms);
    }
    co_return times;
}

Task<void> churn(asio::io_context& io, Arguments in) {
    const int tenant = std::stoi(in[1]), chunks = std::stoi(in[2]);
    const Corpus corpus(std::stoul(in[3]));
    const double seconds = std::stod(in[4]);
    Bench bench{io, in[0]};
    must(co_await bench.app->wait_connected(soon()));
    knowledge::Searcher searcher(io.get_executor(), *bench.app, *bench.exact);
    (void)co_await ask_for(bench, searcher, corpus, tenant, chunks, 0.1);
    const auto quiet = co_await ask_for(bench, searcher, corpus, tenant, chunks, seconds / 2);
    // Another process replaces documents: `search_bench rewrite`.
    std::cout << "replace" << std::endl;
    std::string go;
    std::getline(std::cin, go);
    const auto busy = co_await ask_for(bench, searcher, corpus, tenant, chunks, seconds / 2);
    fmt::print("{}\n", json::dump(json::Object{{"quiet", quantiles(quiet)},
                                               {"busy", quantiles(busy)},
                                               {"questions", busy.size()}}));
    co_await bench.app->close();
}

/// Replaces one document after another until the time is over.
Task<void> rewrite(asio::io_context& io, Arguments in) {
    const int tenant = std::stoi(in[1]), chunks = std::stoi(in[2]);
    const Corpus corpus(std::stoul(in[3]));
    Bench bench{io, in[0]};
    must(co_await bench.app->wait_connected(soon()));
    std::cout << "replacing" << std::endl;
    const auto until = Clock::now() + std::chrono::duration<double>(std::stod(in[4]));
    std::int64_t done = 0;
    for (int file = 0; Clock::now() < until; file = (file + 1) % (chunks / k_chunks_per_file)) {
        co_await write(bench, corpus, tenant, file, k_chunks_per_file);
        done += k_chunks_per_file;
    }
    fmt::print("{}\n", json::dump(json::Object{{"chunks", done}}));
    co_await bench.app->close();
}

void scan(const Arguments& in) {
    const auto chunks = std::stoul(in[0]), dimensions = std::stoul(in[1]);
    std::string wire(4 + dimensions * 2, '\x2c');
    std::vector<knowledge::VectorIndex::Chunk> rows(chunks, {0, wire});
    knowledge::VectorIndex index(dimensions);
    index.add_document(base::FileId::make(), rows);
    const std::vector<float> query(dimensions, 0.03F);
    const auto bytes = chunks * dimensions * 2;
    std::vector<char> from(bytes, 1), to(bytes, 2);
    std::vector<double> ours, floor;
    for (int round = 0; round < 15; ++round) {
        auto began = Clock::now();
        check(index.top_k(query, 50).size() == 50, "found");
        ours.push_back(static_cast<double>(bytes) / ms_since(began) / 1e6);
        began = Clock::now();
        std::memcpy(to.data(), from.data(), bytes);
        floor.push_back(static_cast<double>(bytes) / ms_since(began) / 1e6);
        from[static_cast<std::size_t>(round)] = to[static_cast<std::size_t>(round) + 1];
    }
    const auto median = [](std::vector<double> values) {
        std::ranges::nth_element(values, values.begin() + static_cast<long>(values.size() / 2));
        return values[values.size() / 2];
    };
    fmt::print("{}\n", json::dump(json::Object{{"compared GB/s", median(ours)},
                                               {"copied GB/s", median(floor)}}));
}

struct Labelled {
    std::string question;
    std::vector<std::string> files;
    std::vector<float> vector;
};

double ndcg(const std::vector<knowledge::Hit>& hits, const std::vector<std::string>& relevant) {
    std::vector<std::string> names;
    for (const auto& hit : hits) {
        if (std::ranges::find(names, hit.file_name) == names.end()) names.push_back(hit.file_name);
    }
    double gain = 0, ideal = 0;
    for (std::size_t i = 0; i < 10; ++i) {
        const double discount = 1 / std::log2(static_cast<double>(i) + 2);
        if (i < relevant.size()) ideal += discount;
        if (i < names.size() && std::ranges::find(relevant, names[i]) != relevant.end())
            gain += discount;
    }
    return gain / ideal;
}

Task<void> labelled(asio::io_context& io, Arguments in) {
    Bench bench{io, in[0]};
    const base::TenantId tenant = *base::TenantId::parse(in[1]);
    const auto http = http_client::make_client(io.get_executor(), {});
    const auto embedder =
        providers::embedding::make_openai(*http, {.base_url = in[2], .key = "", .model = in[3]});
    std::vector<Labelled> questions;
    std::ifstream file(in[4]);
    for (std::string line; std::getline(file, line);) {
        const auto document = must(json::parse(line));
        auto reader = document.reader();
        questions.push_back({reader.string("question"), reader.strings("files", 100), {}});
        std::vector<std::string> texts{questions.back().question};
        auto embedded = must(co_await embedder->embed(std::move(texts), "", soon()));
        questions.back().vector = std::move(embedded.vectors.front());
    }
    must(co_await bench.app->wait_connected(soon()));
    json::Object out;
    const auto score = [&](const std::string& name, bool meaning,
                           knowledge::SearchOptions options) -> Task<void> {
        knowledge::Searcher searcher(io.get_executor(), *bench.app, *bench.exact, options);
        double sum = 0;
        for (const auto& one : questions) {
            const auto found = must(
                co_await searcher.search({.tenant = tenant,
                                          .question = one.question,
                                          .vector = meaning ? one.vector : std::vector<float>{},
                                          .limit = 20},
                                         soon()));
            sum += ndcg(found.hits, one.files);
        }
        out[name] = sum / static_cast<double>(questions.size());
    };
    co_await score("words", false, {});
    co_await score("meaning", true, {.words_weight = 0});
    co_await score("both", true, {});
    for (const double weight : {0.25, 0.5, 2.0, 4.0})
        co_await score(fmt::format("both, dense weight {}", weight), true,
                       {.dense_weight = weight});
    fmt::print("{}\n", json::dump(out));
    co_await bench.app->close();
}

}  // namespace

int main(int argc, char** argv) {
    const std::string command = argc > 1 ? argv[1] : "";
    Arguments in(argv + std::min(argc, 2), argv + argc);
    if (command == "scan") {
        scan(in);
        return 0;
    }
    const std::map<std::string, Task<void> (*)(asio::io_context&, Arguments)> commands = {
        {"seed", seed},
        {"ask", ask},
        {"churn", churn},
        {"rewrite", rewrite},
        {"labelled", labelled}};
    const auto found = commands.find(command);
    if (found == commands.end()) {
        fmt::print(stderr, "usage: see the head of search_bench.cpp\n");
        return 2;
    }
    asio::io_context io(1);
    std::exception_ptr thrown;
    asio::co_spawn(io, found->second(io, std::move(in)), [&](std::exception_ptr e) {
        thrown = std::move(e);
        io.stop();
    });
    io.run();
    if (thrown) std::rethrow_exception(thrown);
    return 0;
}
