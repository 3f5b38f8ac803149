# the accept's statement in a bare libpq loop
add_executable(floor_libpq floor_libpq.cpp)
target_compile_options(floor_libpq PRIVATE ${MILLRACE_WARNINGS})
target_link_libraries(floor_libpq PRIVATE millrace_domain_jobs PkgConfig::PQ)
