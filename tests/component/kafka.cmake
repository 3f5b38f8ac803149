# shared/kafka against a real broker
millrace_test(kafka_component
    SOURCES kafka_test.cpp
    DEPS millrace_kafka
    LABELS component
    TIMEOUT 240)
