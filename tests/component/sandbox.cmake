# shared/sandbox, and the program that tries to get out of it. The latter runs under RLIMIT_AS, which AddressSanitizer's
# shadow memory would not survive.
add_executable(millrace-sandbox-escape sandbox_escape.cpp)
target_compile_options(millrace-sandbox-escape PRIVATE ${MILLRACE_WARNINGS} -fno-sanitize=all)
target_link_options(millrace-sandbox-escape PRIVATE -fno-sanitize=all)

millrace_test(sandbox_component
    SOURCES sandbox_test.cpp
    DEPS millrace_sandbox
    LABELS component)
target_compile_definitions(sandbox_component PRIVATE MILLRACE_SANDBOX_ESCAPE="$<TARGET_FILE:millrace-sandbox-escape>")
add_dependencies(sandbox_component millrace-sandbox-escape)
