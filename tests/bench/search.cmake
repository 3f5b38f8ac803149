# search as the workers do it, against the database named on the command line
add_executable(search_bench search_bench.cpp search_corpus.cpp)
target_compile_options(search_bench PRIVATE ${MILLRACE_WARNINGS})
target_link_libraries(search_bench PRIVATE millrace_domain_knowledge millrace_postgres millrace_providers_embedding millrace_providers_vector millrace_json fmt::fmt)
