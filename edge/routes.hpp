#pragma once
// Every surface and every route of the edge, from every product's own table.

#include "edge/surfaces/diary/diary.hpp"
#include "edge/surfaces/jobs/jobs.hpp"
#include "edge/surfaces/knowledge/knowledge.hpp"

namespace millrace::edge {

[[nodiscard]] std::vector<middleware::Surface> all_surfaces();
[[nodiscard]] std::vector<middleware::Endpoint> all_endpoints(surfaces::jobs::Ports jobs,
                                                              surfaces::knowledge::Ports knowledge,
                                                              surfaces::diary::Ports diary);

}  // namespace millrace::edge
