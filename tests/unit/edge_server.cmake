# edge/server without a socket: framing guard, chunked decoder, router, answer heads
millrace_test(edge_server_unit
    SOURCES edge_framing_test.cpp edge_router_test.cpp
    DEPS millrace_edge_server
    LABELS unit)
# edge/middleware: admission, and uploads as they arrive
millrace_test(edge_middleware_unit
    SOURCES edge_admission_test.cpp edge_client_address_test.cpp edge_multipart_test.cpp
    DEPS millrace_edge_middleware
    LABELS unit)
