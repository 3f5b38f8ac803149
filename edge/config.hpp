#pragma once
#include "shared/config/groups.hpp"

namespace millrace::edge {

struct Config {
    config::Process process;
    config::Postgres postgres;
    config::Kafka kafka;
    config::Redis redis;
    config::Objects objects;
    config::Secrets secrets;
    config::Edge edge;
    config::Models models;
    config::Embeddings embeddings;
    config::Karte karte;
    config::Payments payments;

    static Config read(config::Loader& in);
};

}  // namespace millrace::edge
