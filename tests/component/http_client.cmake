# shared/http_client against a server on loopback that misbehaves on demand, and the guard against a canary
millrace_test(http_client_component
    SOURCES http_client_test.cpp http_guard_test.cpp
    DEPS millrace_http_client
    LABELS component)
