#include "shared/config/groups.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "shared/base/failpoint.hpp"

namespace millrace::config {

using namespace std::chrono_literals;

Process Process::read(Loader& in, std::string default_name) {
    Process out;
    out.development =
        in.choice("MILLRACE_ENVIRONMENT", "production", {"production", "development"},
                  "development relaxes what only a single machine may relax") == "development";
    out.name = in.text("MILLRACE_WORKER_NAME", std::move(default_name),
                       "this process among its kind, such as rag-1");
    out.log_level = in.choice("MILLRACE_LOG_LEVEL", "info", {"debug", "info", "warning", "error"},
                              "the least level that is written");
    out.otlp_url = in.text(
        "MILLRACE_OTLP_URL", "",
        "OTLP/HTTP endpoint for traces, such as http://127.0.0.1:4318/v1/traces; empty: none");
    out.metrics_address = in.text("MILLRACE_METRICS_ADDRESS", "127.0.0.1",
                                  "where /livez, /readyz and /metrics listen");
    out.metrics_port = static_cast<std::uint16_t>(
        in.integer("MILLRACE_METRICS_PORT", 0, 0, 65535, "their port; 0: any"));
    out.failpoint =
        in.text("MILLRACE_FAILPOINT", "",
                "for fault tests: a place of shared/base/failpoint.hpp and what happens "
                "there, such as accept.committed=crash@20");
    if (!out.failpoint.empty() && !base::failpoint::parse(out.failpoint))
        in.problem("MILLRACE_FAILPOINT: must be <place>=crash[@n] or <place>=delay:<n>ms[@n]");
    out.shutdown_grace =
        in.span("MILLRACE_SHUTDOWN_GRACE", 25s, 0ms, 600s, "how long work may go on after SIGTERM");
    return out;
}

Postgres Postgres::read(Loader& in) {
    Postgres out;
    out.dsn = in.required(
        "MILLRACE_PG_DSN",
        "the PostgreSQL connection string of a member of millrace_pipeline and millrace_app");
    out.statement_timeout = in.span("MILLRACE_PG_STATEMENT_TIMEOUT", 3s, 100ms, 600s,
                                    "statement_timeout of every connection");
    return out;
}

Kafka Kafka::read(Loader& in) {
    Kafka out;
    out.brokers = in.required("MILLRACE_KAFKA_BROKERS", "host:port, separated by commas");
    out.topics_file =
        in.text("MILLRACE_TOPICS_FILE", "", "instead of the built-in schemas/topics.yaml");
    out.topic_suffix = in.text("MILLRACE_TOPIC_SUFFIX", "",
                               "appended to every topic name, for tests that share a broker");
    out.message_timeout = in.span("MILLRACE_KAFKA_MESSAGE_TIMEOUT", 5s, 500ms, 300s,
                                  "after this a publication is left to the relay");
    out.linger = in.span("MILLRACE_KAFKA_LINGER", 1ms, 0ms, 100ms,
                         "how long the producer waits for company");
    return out;
}

Redis Redis::read(Loader& in) {
    return {
        in.required("MILLRACE_REDIS_URL", "redis://[:password@]host[:port][/db] or unix:///path")};
}

namespace {

/// https://host[:port]: a path, a query or credentials would not reach the service as they stand.
bool is_service_url(std::string_view url) {
    const auto scheme = url.find("://");
    if (scheme == std::string_view::npos) return false;
    const auto host = url.substr(scheme + 3);
    const bool plain = std::ranges::all_of(host, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
    });
    return (url.starts_with("https://") || url.starts_with("http://")) && !host.empty() && plain;
}

bool is_bucket_name(std::string_view name) {
    return name.size() >= 3 && name.size() <= 63 && name.front() != '.' &&
           std::ranges::all_of(name, [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
           });
}

void check_service(Loader& in, const Objects& out) {
    for (const auto& [name, value] : {std::pair{"MILLRACE_OBJECT_URL", &out.url},
                                      std::pair{"MILLRACE_OBJECT_BUCKET", &out.bucket},
                                      std::pair{"MILLRACE_OBJECT_ACCESS_KEY", &out.access_key},
                                      std::pair{"MILLRACE_OBJECT_SECRET_KEY", &out.secret_key}}) {
        if (value->empty())
            in.problem(fmt::format("{}: must be set where an S3-compatible service is used", name));
    }
    if (!out.url.empty() && !is_service_url(out.url))
        in.problem("MILLRACE_OBJECT_URL: must be https://host[:port] (or http://) and no more");
    if (!out.bucket.empty() && !is_bucket_name(out.bucket))
        in.problem(
            "MILLRACE_OBJECT_BUCKET: must be 3 to 63 of a-z, 0-9, '-' and '.', no '.' at first");
}

}  // namespace

Objects Objects::read(Loader& in) {
    Objects out{
        .dir = in.text("MILLRACE_OBJECT_DIR", "", "the folder of the local object store"),
        .url = in.text("MILLRACE_OBJECT_URL", "",
                       "an S3-compatible service in place of the folder, such as "
                       "https://s3.example.com or http://127.0.0.1:9000"),
        .bucket = in.text("MILLRACE_OBJECT_BUCKET", "",
                          "its bucket, which is there already and belongs to this system alone"),
        .region = in.text("MILLRACE_OBJECT_REGION", "us-east-1", "its region, as requests name it"),
        .access_key = in.text("MILLRACE_OBJECT_ACCESS_KEY", "", "the id of its access key"),
        .secret_key = in.secret("MILLRACE_OBJECT_SECRET_KEY", 0, false, "the secret of that key")};
    while (out.url.ends_with('/')) out.url.pop_back();
    const bool service = !out.url.empty() || !out.bucket.empty() || !out.access_key.empty() ||
                         !out.secret_key.empty();
    if (service)
        check_service(in, out);
    else if (out.dir.empty())
        in.problem("MILLRACE_OBJECT_DIR: must be set, or MILLRACE_OBJECT_URL");
    if (service && !out.dir.empty())
        in.problem(
            "MILLRACE_OBJECT_DIR and MILLRACE_OBJECT_URL: objects are kept in one place only, "
            "MILLRACE_OBJECT_DIR must be empty where a service is used");
    return out;
}

ObjectSweep ObjectSweep::read(Loader& in) {
    // A body of 101 MiB may come at 1 KiB/s, which takes 29 hours, and its row is written after it.
    return {
        .age = in.span("MILLRACE_OBJECT_ORPHAN_AGE", 48h, 30h, 24h * 365,
                       "objects that no document names, and unfinished uploads, go once they "
                       "are older; longer than any upload takes"),
        .every = in.span("MILLRACE_OBJECT_SWEEP", 1h, 1s, 24h, "how often they are looked for")};
}

Secrets Secrets::read(Loader& in) {
    Secrets out{.key = in.secret("MILLRACE_SECRET_KEY", 32, true,
                                 "signs tokens; at least 32 random bytes, the same everywhere"),
                .old_keys = {}};
    for (const char* name : {"MILLRACE_SECRET_KEY_OLD", "MILLRACE_SECRET_KEY_OLDER"}) {
        auto old = in.secret(name, 32, false, "a key replaced lately: what it signed stays good");
        if (!old.empty()) out.old_keys.push_back(std::move(old));
    }
    return out;
}

std::vector<std::string> Secrets::all() const {
    std::vector<std::string> keys{key};
    keys.insert(keys.end(), old_keys.begin(), old_keys.end());
    return keys;
}

namespace {

void read_connection_limits(Loader& in, Edge& out) {
    out.connections_per_ip = in.integer("MILLRACE_CONNECTIONS_PER_IP", 100, 0, 1'000'000,
                                        "of one address, loopback excepted; 0: no limit");
    out.header_timeout =
        in.span("MILLRACE_HEADER_TIMEOUT", 10s, 100ms, 300s, "for a whole request head");
    out.body_timeout = in.span("MILLRACE_BODY_TIMEOUT", 30s, 100ms, 600s,
                               "for a whole body that is not an upload; all bodies must also come "
                               "at 1 KiB/s after 5 s");
    out.idle_timeout = in.span("MILLRACE_IDLE_TIMEOUT", 60s, 100ms, 3600s, "between requests");
    out.send_timeout =
        in.span("MILLRACE_SEND_TIMEOUT", 20s, 100ms, 600s, "for a client to take an answer");
    out.memory_max_mib = in.integer("MILLRACE_MEMORY_MAX", 2048, 0, 1 << 20,
                                    "MiB of this process: above 85 % no new streams and uploads, "
                                    "above 95 % no new connections; 0: no limit");
}

void read_admission(Loader& in, Edge& out) {
    out.places_min = in.integer("MILLRACE_PLACES_MIN", 16, 1, 100'000,
                                "requests at work at once, however slow they are");
    out.places_max = in.integer("MILLRACE_PLACES_MAX", 2048, 1, 100'000,
                                "requests at work at once, however fast they are");
    out.latency_headroom =
        in.span("MILLRACE_LATENCY_HEADROOM", 100ms, 1ms, 60s,
                "how much slower than at best requests may be before fewer are let in");
    out.waiting_max =
        in.integer("MILLRACE_WAITING_MAX", 1024, 0, 100'000, "requests that wait for a place");
    out.wait_burst = in.span("MILLRACE_WAIT_BURST", 500ms, 0ms, 60s,
                             "for a place, while the line empties now and then");
    out.wait_overloaded = in.span("MILLRACE_WAIT_OVERLOADED", 50ms, 0ms, 60s,
                                  "for a place, once the line has not emptied for a second");
    out.tenant_rate = in.integer("MILLRACE_TENANT_RATE", 0, 0, 1'000'000,
                                 "requests per second of one tenant on this edge; 0: no limit");
    out.auth_rate = in.integer("MILLRACE_AUTH_RATE", 10, 1, 1'000'000,
                               "requests a minute of one address to each of the knowledge "
                               "product's endpoints that take credentials");
    out.chat_rate = in.integer("MILLRACE_CHAT_RATE", 60, 1, 1'000'000,
                               "questions a minute of one user, or of one visitor of a widget; a "
                               "widget's visitors together may ask ten times as many");
    out.upload_rate = in.integer("MILLRACE_UPLOAD_RATE", 10, 1, 1'000'000,
                                 "uploads a minute of one user, imports by operators aside");
    out.tenant_storage_mib = in.integer("MILLRACE_TENANT_STORAGE", 20'480, 0, 1 << 30,
                                        "MiB that a tenant's documents may take; 0: no limit");
    out.uploads_max = in.integer("MILLRACE_UPLOADS_MAX", 64, 1, 100'000, "uploads at once");
    out.visitors_max = in.integer("MILLRACE_VISITORS_MAX", 256, 1, 100'000,
                                  "requests without a credential, such as logins, at once");
}

}  // namespace

Edge Edge::read(Loader& in) {
    Edge out;
    out.address = in.text("MILLRACE_EDGE_ADDRESS", "127.0.0.1", "the address the edge listens on");
    out.port = static_cast<std::uint16_t>(
        in.integer("MILLRACE_EDGE_PORT", 8080, 0, 65535, "its port; 0: any"));
    out.base_url =
        in.text("MILLRACE_BASE_URL", "", "prefix of the URLs handed out; empty: relative");
    out.public_url = in.text("MILLRACE_PUBLIC_URL", "",
                             "where people reach this edge, such as https://app.example.com; links "
                             "in mails begin with it; empty: the address it listens on");
    if (out.public_url.empty()) out.public_url = fmt::format("http://{}:{}", out.address, out.port);
    while (out.public_url.ends_with('/')) out.public_url.pop_back();
    out.docs_dir = in.text("MILLRACE_DOCS_DIR", "",
                           "the folder with the files of Swagger UI and ReDoc; empty: /docs and "
                           "/redoc say that they are missing");
    out.cors_origins = in.list("MILLRACE_CORS_ORIGINS", "", "origins whose pages may call the API");
    out.trusted_proxies =
        in.list("MILLRACE_TRUSTED_PROXIES", "",
                "addresses or networks of proxies whose X-Forwarded-For is believed");
    out.probe = in.flag("MILLRACE_PROBE", false, "opens the probe's kinds of job; for tests");
    out.hold = in.span("MILLRACE_HOLD", 30s, 0ms, 60s, "how long a request is held for its job");
    out.wait_max = in.span("MILLRACE_WAIT_MAX", 60s, 1s, 300s, "the longest Prefer: wait");
    out.idle_cancel = in.span("MILLRACE_IDLE_CANCEL", 30s, 1s, 600s,
                              "a chat that nobody follows is cancelled after this");
    out.heartbeat =
        in.span("MILLRACE_HEARTBEAT", 15s, 1s, 60s, "between comments on a quiet event stream");
    out.connections_max =
        in.integer("MILLRACE_CONNECTIONS_MAX", 10'000, 1, 1'000'000, "open connections");
    out.event_streams_max =
        in.integer("MILLRACE_EVENT_STREAMS_MAX", 8'000, 1, 1'000'000, "open event streams");
    read_connection_limits(in, out);
    read_admission(in, out);
    return out;
}

Karte Karte::read(Loader& in) {
    Karte out{.checkout_url = in.text("MILLRACE_KARTE_CHECKOUT_URL", "",
                                      "where who has not paid goes once signed in, such as a "
                                      "payment link; empty: nobody has to pay"),
              .success_url = in.text("MILLRACE_KARTE_SUCCESS_URL", "",
                                     "where who may go on goes once signed in, with the session in "
                                     "the fragment: #token=…; empty: a page of ours")};
    for (const auto& [name, url] : {std::pair{"MILLRACE_KARTE_CHECKOUT_URL", &out.checkout_url},
                                    std::pair{"MILLRACE_KARTE_SUCCESS_URL", &out.success_url}}) {
        const auto clean = [](unsigned char c) {
            return c > 0x20 && c < 0x7F && !std::strchr("#\"\\,;'", c);
        };
        const auto host = url->find("://");
        const bool is_url = host != std::string::npos && host > 0 && host + 3 < url->size();
        if (!url->empty() && !(is_url && std::ranges::all_of(*url, clean)))
            in.problem(fmt::format("{}: must be a whole URL without a fragment", name));
    }
    return out;
}

Worker Worker::read(Loader& in) {
    Worker out;
    out.concurrency = in.integer("MILLRACE_CONCURRENCY", 32, 1, 10'000, "attempts running at once");
    out.claimed_max =
        in.integer("MILLRACE_CLAIMED_MAX", 1024, 1, 100'000, "jobs claimed and not finished");
    out.fetch_max = in.integer("MILLRACE_FETCH_MAX", 256, 1, 4096, "records per claim");
    out.lease =
        in.span("MILLRACE_LEASE", 10s, 2s, 600s, "a worker silent for longer is written off");
    out.prices_file = in.text("MILLRACE_PRICES_FILE", "",
                              "what models cost, in place of the built-in schemas/prices.yaml");
    return out;
}

Models Models::read(Loader& in) {
    Models out;
    for (const std::string suffix : {"", "_2", "_3"}) {
        Provider provider{.url = in.text("MILLRACE_LLM_URL" + suffix, "",
                                         "OpenAI-compatible base URL, such as "
                                         "http://127.0.0.1:11434/v1, or local; empty: none"),
                          .key = in.secret("MILLRACE_LLM_KEY" + suffix, 0, false, "its API key"),
                          .model = in.text("MILLRACE_LLM_MODEL" + suffix, "gpt-4o-mini",
                                           "the model asked for there")};
        if (!provider.url.empty()) out.chain.push_back(std::move(provider));
    }
    out.aliases =
        in.list("MILLRACE_LLM_ALIASES", "gpt-4,gpt-4o,gpt-4o-mini,gpt-4-turbo,gpt-3.5-turbo,local",
                "model names that requests may use, besides those of the chain");
    for (const auto& provider : out.chain) out.aliases.push_back(provider.model);
    out.first_byte = in.span("MILLRACE_LLM_FIRST_BYTE", 20s, 100ms, 300s,
                             "a model that has said nothing for this long is given up");
    out.stall = in.span("MILLRACE_LLM_STALL", 15s, 100ms, 300s,
                        "a stream that stops for this long is given up");
    return out;
}

Embeddings Embeddings::read(Loader& in) {
    Embeddings out;
    out.provider = {
        .url = in.text("MILLRACE_EMBEDDING_URL", "",
                       "OpenAI-compatible base URL for dense vectors; empty: BM25 alone"),
        .key = in.secret("MILLRACE_EMBEDDING_KEY", 0, false, "its API key"),
        .model = in.text("MILLRACE_EMBEDDING_MODEL", "text-embedding-3-small",
                         "the model asked for there")};
    out.dimensions = in.integer("MILLRACE_EMBEDDING_DIMENSIONS", 0, 0, 4000, "checked when not 0");
    return out;
}

Vectors Vectors::read(Loader& in) {
    Vectors out{
        .pinecone_url = in.text("MILLRACE_PINECONE_URL", "",
                                "the address of a Pinecone index, https://…; empty: vectors are "
                                "kept in PostgreSQL"),
        .pinecone_key = in.secret("MILLRACE_PINECONE_KEY", 0, false, "its API key"),
        .index_above = in.integer("MILLRACE_VECTOR_INDEX_ABOVE", 50'000, 0, 100'000'000,
                                  "chunks of a tenant above which an index made by `millrace-ops "
                                  "vectors` is used; smaller ones are compared exactly"),
        .sweep = in.span("MILLRACE_VECTOR_SWEEP", 60s, 10ms, 24h,
                         "how often what has no chunks any more is removed from Pinecone")};
    while (out.pinecone_url.ends_with('/')) out.pinecone_url.pop_back();
    if (!out.pinecone_url.empty() && !out.pinecone_url.starts_with("https://") &&
        !out.pinecone_url.starts_with("http://"))
        in.problem("MILLRACE_PINECONE_URL: must start with https:// (or http://)");
    if (out.pinecone_url.empty() != out.pinecone_key.empty())
        in.problem("MILLRACE_PINECONE_URL and MILLRACE_PINECONE_KEY: both or neither must be set");
    return out;
}

Extraction Extraction::read(Loader& in) {
    std::error_code unknown;
    const auto beside =
        std::filesystem::read_symlink("/proc/self/exe", unknown).parent_path() / "millrace-extract";
    return {in.text("MILLRACE_EXTRACT_BIN", beside.string(),
                    "the program that reads documents in the sandbox")};
}

Payments Payments::read(Loader& in) {
    Payments out{
        .url = in.text("MILLRACE_STRIPE_URL", "https://api.stripe.com",
                       "base URL of a Stripe-compatible service, without /v1"),
        .key = in.secret("MILLRACE_STRIPE_KEY", 0, false, "its secret key; empty: no payments"),
        .prices = in.list("MILLRACE_STRIPE_PRICES", "",
                          "its price per plan and cycle, such as "
                          "PRO:MONTHLY=price_123,PRO:YEARLY=price_456")};
    for (const auto& price : out.prices) {
        const auto colon = price.find(':'), equals = price.find('=');
        if (colon == 0 || colon == std::string::npos || equals == std::string::npos ||
            equals < colon + 2 || equals + 1 == price.size())
            in.problem("MILLRACE_STRIPE_PRICES: must be a list of PLAN:CYCLE=price");
    }
    return out;
}

Mail Mail::read(Loader& in) {
    constexpr std::string_view k_nobody = "Millrace <no-reply@millrace.invalid>";
    Mail out;
    out.smtp_url =
        in.secret("MILLRACE_SMTP_URL", 0, false,
                  "smtp://user:password@host:587 (STARTTLS, required unless the host is loopback) "
                  "or smtps://…; empty: mails are .eml files");
    out.smtp_ca_file = in.text("MILLRACE_SMTP_CA_FILE", "",
                               "PEM file that the server's certificate is held against; empty: the "
                               "system's");
    out.smtp_timeout =
        in.span("MILLRACE_SMTP_TIMEOUT", 20s, 500ms, 50s,
                "for one delivery; shorter than MILLRACE_SHUTDOWN_GRACE, so that none is cut");
    out.smtp_connections =
        in.integer("MILLRACE_SMTP_CONNECTIONS", 8, 1, 64, "deliveries of one process at once");
    out.dir = in.text("MILLRACE_MAIL_DIR", "", "the folder of the .eml files");
    out.from = in.text("MILLRACE_MAIL_FROM", std::string(k_nobody),
                       "the sender of all mails, such as Millrace <no-reply@example.com>");
    if (out.smtp_url.empty() && out.dir.empty())
        in.problem("MILLRACE_SMTP_URL: must be set, or MILLRACE_MAIL_DIR");
    if (!out.smtp_url.empty() && out.from == k_nobody)
        in.problem("MILLRACE_MAIL_FROM: must be set where mails leave by SMTP");
    return out;
}

std::vector<std::string> known_names() {
    Loader all{std::map<std::string, std::string>{}};
    Process::read(all, "");
    Postgres::read(all);
    Kafka::read(all);
    Redis::read(all);
    Objects::read(all);
    ObjectSweep::read(all);
    Secrets::read(all);
    Edge::read(all);
    Karte::read(all);
    Worker::read(all);
    Models::read(all);
    Embeddings::read(all);
    Vectors::read(all);
    Extraction::read(all);
    Mail::read(all);
    Payments::read(all);
    std::vector<std::string> names;
    for (const auto& setting : all.settings()) names.push_back(setting.name);
    // What only scripts and tests read, and what they pass along.
    for (const char* name :
         {"MILLRACE_HOME", "MILLRACE_BIN_DIR", "MILLRACE_PID_DIR", "MILLRACE_LOG_DIR",
          "MILLRACE_EDGE_URL", "MILLRACE_METRICS_URL", "MILLRACE_PG_ADMIN_DSN",
          "MILLRACE_BUILD_DIR", "MILLRACE_TEST_LONG", "MILLRACE_CACHE"}) {
        names.emplace_back(name);
    }
    for (int edge = 2; edge <= 9; ++edge)
        names.push_back(fmt::format("MILLRACE_EDGE_URL_{}", edge));
    return names;
}

}  // namespace millrace::config
