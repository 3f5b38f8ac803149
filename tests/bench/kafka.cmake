# shared/kafka as a ratio to bare librdkafka, against the broker named on the command line
add_executable(kafka_bench kafka_bench.cpp floor_rdkafka.cpp)
target_compile_options(kafka_bench PRIVATE ${MILLRACE_WARNINGS})
target_link_libraries(kafka_bench PRIVATE millrace_kafka PkgConfig::RDKAFKA)
