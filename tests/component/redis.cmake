# shared/redis against a real server, some of it through a proxy that fails on demand
millrace_test(redis_component
    SOURCES redis_test.cpp
    DEPS millrace_redis millrace_test_proxy
    LABELS component)
