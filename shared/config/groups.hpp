#pragma once
// The settings, in groups that the binaries share. A binary's configuration is a struct of groups;
// each group reads itself.

#include <string>
#include <string_view>
#include <vector>

#include "shared/config/loader.hpp"

namespace millrace::config {

struct Process {
    bool development = false;
    std::string name, log_level, otlp_url, metrics_address, failpoint;
    std::uint16_t metrics_port = 0;
    std::chrono::milliseconds shutdown_grace{};
    static Process read(Loader& in, std::string default_name);
};

struct Postgres {
    std::string dsn;
    std::chrono::milliseconds statement_timeout{};
    static Postgres read(Loader& in);
};

struct Kafka {
    std::string brokers, topics_file, topic_suffix;
    std::chrono::milliseconds message_timeout{}, linger{};
    static Kafka read(Loader& in);
};

struct Redis {
    std::string url;
    static Redis read(Loader& in);
};

/// Where large things are kept: a local folder, or a bucket of an S3-compatible service.
struct Objects {
    std::string dir;
    std::string url, bucket, region, access_key, secret_key;  ///< url is empty where dir is not
    static Objects read(Loader& in);
};

/// When objects that no document names are removed.
struct ObjectSweep {
    std::chrono::milliseconds age{}, every{};
    static ObjectSweep read(Loader& in);
};

struct Secrets {
    std::string key;
    std::vector<std::string> old_keys;  ///< still verify what they signed
    [[nodiscard]] std::vector<std::string> all() const;
    static Secrets read(Loader& in);
};

struct Edge {
    std::string address, base_url, public_url, docs_dir;
    std::uint16_t port = 0;
    std::vector<std::string> cors_origins, trusted_proxies;
    bool probe = false;
    std::chrono::milliseconds hold{}, wait_max{}, idle_cancel{}, heartbeat{};
    std::int64_t connections_max = 0, event_streams_max = 0, connections_per_ip = 0;
    std::chrono::milliseconds header_timeout{}, body_timeout{}, idle_timeout{}, send_timeout{};
    std::int64_t places_min = 0, places_max = 0, waiting_max = 0, uploads_max = 0, visitors_max = 0;
    std::int64_t tenant_rate = 0;
    std::int64_t auth_rate = 0, chat_rate = 0, upload_rate = 0, tenant_storage_mib = 0;
    std::chrono::milliseconds latency_headroom{}, wait_burst{}, wait_overloaded{};
    std::int64_t memory_max_mib = 0;
    static Edge read(Loader& in);
};

/// Where karte's sign-in leads to; empty: not set.
struct Karte {
    std::string checkout_url, success_url;
    static Karte read(Loader& in);
};

struct Worker {
    std::int64_t concurrency = 0, claimed_max = 0, fetch_max = 0;
    std::chrono::milliseconds lease{};
    std::string prices_file;
    static Worker read(Loader& in);
};

/// One provider of a chain; empty url: not configured; url "local": the extractive answerer.
struct Provider {
    std::string url, key, model;
};
inline constexpr std::string_view k_local_model = "local";
struct Models {
    std::vector<Provider> chain;  ///< tried in order; empty: the local answerer
    std::vector<std::string>
        aliases;  ///< model names that requests may use; those of the chain among them
    std::chrono::milliseconds first_byte{}, stall{};
    static Models read(Loader& in);
};

struct Embeddings {
    Provider provider;
    std::int64_t dimensions = 0;
    static Embeddings read(Loader& in);
};

/// Where dense vectors are kept: in PostgreSQL, or in a Pinecone index.
struct Vectors {
    std::string pinecone_url, pinecone_key;
    std::int64_t index_above = 0;
    std::chrono::milliseconds sweep{};
    static Vectors read(Loader& in);
};

struct Extraction {
    std::string program;
    static Extraction read(Loader& in);
};

/// A Stripe-compatible service; an empty key: there are no payments.
struct Payments {
    std::string url, key;
    std::vector<std::string> prices;  ///< "PRO:MONTHLY=price_123"
    static Payments read(Loader& in);
};

/// Mail goes out by SMTP when `smtp_url` is set, else into the folder.
struct Mail {
    std::string dir, from, smtp_url, smtp_ca_file;
    std::chrono::milliseconds smtp_timeout{};
    std::int64_t smtp_connections = 0;
    static Mail read(Loader& in);
};

/// Every variable that some binary or script of ours understands.
[[nodiscard]] std::vector<std::string> known_names();

}  // namespace millrace::config
