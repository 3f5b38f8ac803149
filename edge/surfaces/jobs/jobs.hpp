#pragma once
// /api/jobs: enqueue, read, list, cancel, follow (design §4).

#include <vector>

#include "edge/surfaces/jobs/live_tail.hpp"

namespace millrace::edge::surfaces::jobs {

struct Ports {
    middleware::JobGate& gate;
    domain::jobs::Reader& reader;
    domain::jobs::LiveReader& live;
    LiveTails& tails;
    const events::Catalog& catalog;
    bool probe = false;  ///< whether the probe's kinds are open
};

/// References in `ports` outlive the endpoints.
[[nodiscard]] std::vector<middleware::Endpoint> endpoints(Ports ports);

/// A job as its owner reads it, JSON.
[[nodiscard]] std::string job_json(const domain::jobs::View& job,
                                   const std::optional<std::string>& progress,
                                   const middleware::JobGate& gate);

/// Follows one job from `last_event_id` (empty: from the start) as an event stream.
[[nodiscard]] Task<Result<server::Response>> follow(Ports ports, domain::jobs::View job,
                                                    std::string last_event_id);

}  // namespace millrace::edge::surfaces::jobs
