# millrace-load, the load generator, and the bare socket server that the edge is compared with
add_executable(millrace-load load.cpp load_requests.cpp load_streams.cpp)
target_include_directories(millrace-load PRIVATE ${CMAKE_SOURCE_DIR})
target_compile_options(millrace-load PRIVATE ${MILLRACE_WARNINGS})
target_link_libraries(millrace-load PRIVATE fmt::fmt)

add_executable(floor_epoll floor_epoll.cpp)
target_compile_options(floor_epoll PRIVATE ${MILLRACE_WARNINGS})
