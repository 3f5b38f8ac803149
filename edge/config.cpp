#include "edge/config.hpp"

namespace millrace::edge {

Config Config::read(config::Loader& in) {
    return {.process = config::Process::read(in, "edge-1"),
            .postgres = config::Postgres::read(in),
            .kafka = config::Kafka::read(in),
            .redis = config::Redis::read(in),
            .objects = config::Objects::read(in),
            .secrets = config::Secrets::read(in),
            .edge = config::Edge::read(in),
            .models = config::Models::read(in),
            .embeddings = config::Embeddings::read(in),
            .karte = config::Karte::read(in),
            .payments = config::Payments::read(in)};
}

}  // namespace millrace::edge
