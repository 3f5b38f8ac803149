#pragma once
// The edge process: what it is made of, in the order in which it is made.

#include "edge/config.hpp"
#include "shared/service/service.hpp"

namespace millrace::edge {

/// Serves until the service is stopping, then drains.
[[nodiscard]] Task<Result<void>> run_edge(service::Service& service, const Config& config);

}  // namespace millrace::edge
