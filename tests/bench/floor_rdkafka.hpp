#pragma once
// The floor for shared/kafka: librdkafka with the same settings, in the barest loop that does the
// same.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace millrace::bench {

struct KafkaRun {
    double cpu_us = 0;  // of the whole process, librdkafka's threads included, per record
    double per_second = 0;
    std::vector<double> latency_ms{};  // produce to delivery report

    [[nodiscard]] double quantile(double q) {
        std::ranges::sort(latency_ms);
        return latency_ms[static_cast<std::size_t>(q * static_cast<double>(latency_ms.size() - 1))];
    }
};

struct KafkaLoad {
    std::string brokers;
    std::string topic;
    int records = 0;
    int outstanding = 1;  // produced and not yet reported, at any time
    std::string value = std::string(400, 'x');
    int headers = 8;
};

/// Times a span of work.
class Meter {
 public:
    [[nodiscard]] KafkaRun stop(int records) const {
        const std::chrono::duration<double> span = std::chrono::steady_clock::now() - begin_;
        return {.cpu_us = (cpu() - cpu_) / records, .per_second = records / span.count()};
    }

 private:
    static double cpu() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        const auto us = [](const timeval& t) {
            return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
        };
        return us(usage.ru_utime) + us(usage.ru_stime);
    }
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    double cpu_ = cpu();
};

KafkaRun floor_produce(const KafkaLoad& load);
KafkaRun floor_consume(const KafkaLoad& load);

}  // namespace millrace::bench
