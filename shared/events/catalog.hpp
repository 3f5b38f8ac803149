#pragma once
// schemas/topics.yaml as a value: which topics exist, which kind of job is announced by which event
// where.

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shared/base/result.hpp"

namespace millrace::events {

struct Topic {
    std::string name;    ///< with the suffix that tests give
    std::string worker;  ///< who consumes it; empty: nobody of ours
    std::string lane;    ///< interactive, bulk or replay; empty: none
    int partitions = 1;
    std::chrono::milliseconds retention{};
};

enum class Open : std::uint8_t { no, probe, yes };

struct Kind {
    std::string name;
    std::string event;  ///< CloudEvents type
    std::string worker;
    bool ordered = false;  ///< the record key is the job's order key, and jobs of one key run one
                           ///< after the other
    bool dead_blocks = false;
    bool discard_idle = false;
    Open open = Open::no;
    std::vector<std::chrono::milliseconds> retry;  ///< waits before the 2nd, 3rd, … attempt
    std::chrono::milliseconds timeout{};           ///< of one attempt

    [[nodiscard]] int attempts_max() const noexcept { return static_cast<int>(retry.size()) + 1; }
};

class Catalog {
 public:
    /// Every problem of the text is listed in the error. `suffix` is appended to every topic name.
    [[nodiscard]] static Result<Catalog> parse(std::string_view yaml, std::string_view suffix = {});
    /// The table compiled into this binary, or the file at `override_path` when that is not empty.
    [[nodiscard]] static Result<Catalog> load(const std::string& override_path,
                                              std::string_view suffix = {});

    [[nodiscard]] const std::vector<Topic>& topics() const noexcept { return topics_; }
    [[nodiscard]] const Kind* kind(std::string_view name) const noexcept;
    [[nodiscard]] const std::map<std::string, Kind, std::less<>>& kinds() const noexcept {
        return kinds_;
    }
    /// The topic that announces jobs of this kind in this lane; nullptr when the worker has no such
    /// lane.
    [[nodiscard]] const Topic* topic_of(const Kind& kind, std::string_view lane) const noexcept;
    [[nodiscard]] std::vector<std::string> topics_of_worker(std::string_view worker) const;
    [[nodiscard]] const std::string& dead_letters() const noexcept { return dead_letters_; }

 private:
    std::vector<Topic> topics_;
    std::map<std::string, Kind, std::less<>> kinds_;
    std::string dead_letters_;
};

/// "250ms", "5s", "10m", "24h", "7d".
[[nodiscard]] Result<std::chrono::milliseconds> parse_span(std::string_view text);

}  // namespace millrace::events
