# shared/kafka against librdkafka's mock cluster
millrace_test(kafka_mock_producer
    SOURCES kafka_mock_producer_test.cpp
    DEPS millrace_kafka PkgConfig::RDKAFKA
    LABELS unit)
millrace_test(kafka_mock_consumer
    SOURCES kafka_mock_consumer_test.cpp
    DEPS millrace_kafka PkgConfig::RDKAFKA
    LABELS unit)
