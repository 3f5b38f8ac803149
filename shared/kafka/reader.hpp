#pragma once
// Reads chosen offsets without joining a group. Blocking: for one-shot tools only.

#include "shared/kafka/kafka.hpp"

namespace millrace::kafka {

struct Range {
    std::string topic;
    std::int32_t partition = 0;
    std::int64_t first = 0;
    std::int64_t end = -1;  ///< exclusive; -1: whatever comes, for ever
};

class Reader {
 public:
    virtual ~Reader() = default;
    /// Per partition 0 … partitions-1 the first offset whose record is not older than `when`; the
    /// end of the log where there is none.
    virtual Result<std::vector<std::int64_t>> offsets_at(const std::string& topic, int partitions,
                                                         base::WallTime when,
                                                         std::chrono::milliseconds timeout) = 0;
    /// Gives every record of the ranges that the log still holds, in order per partition, until
    /// `each` returns false. `timeout`, when nothing came for `patience` although there must be
    /// more; never for a range without an end.
    virtual Result<void> read(std::vector<Range> ranges, const std::function<bool(Record)>& each,
                              std::chrono::milliseconds patience) = 0;
};
std::unique_ptr<Reader> make_reader(std::string brokers);

}  // namespace millrace::kafka
