#pragma once
// Every surface and every route of the edge, from every product's own table.

#include "edge/surfaces/diary/diary.hpp"
#include "edge/surfaces/habits/habits.hpp"
#include "edge/surfaces/jobs/jobs.hpp"
#include "edge/surfaces/karte/karte.hpp"
#include "edge/surfaces/knowledge/knowledge.hpp"
#include "edge/surfaces/planner/planner.hpp"

namespace millrace::edge {

struct Ports {
    surfaces::jobs::Ports jobs;
    surfaces::knowledge::Ports knowledge;
    surfaces::diary::Ports diary;
    surfaces::karte::Ports karte;
    surfaces::planner::Ports planner;
    surfaces::habits::Ports habits;
};

[[nodiscard]] std::vector<middleware::Surface> all_surfaces(bool development);
[[nodiscard]] std::vector<middleware::Endpoint> all_endpoints(const Ports& ports);

}  // namespace millrace::edge
