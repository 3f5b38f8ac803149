# millrace_library(NAME SOURCES a.cpp b.cpp [DEPS targets] [PRIVATE_DEPS targets])
#   one static library per folder, named after its path: shared/base -> millrace_base.
#   DEPS are what its headers need, PRIVATE_DEPS what only its sources need.
function(millrace_library name)
    cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
    add_library(millrace_${name} STATIC ${ARG_SOURCES})
    target_include_directories(millrace_${name} PUBLIC ${CMAKE_SOURCE_DIR})
    target_compile_options(millrace_${name} PRIVATE ${MILLRACE_WARNINGS})
    target_link_libraries(millrace_${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# millrace_binary(NAME MAIN main.cpp DEPS targets): bin/<NAME>, part of the target `binaries`: what a running system needs.
add_custom_target(binaries)
function(millrace_binary name)
    cmake_parse_arguments(ARG "" "MAIN" "DEPS" ${ARGN})
    add_executable(${name} ${ARG_MAIN})
    target_compile_options(${name} PRIVATE ${MILLRACE_WARNINGS})
    target_link_libraries(${name} PRIVATE ${ARG_DEPS})
    add_dependencies(binaries ${name})
endfunction()

# millrace_test(NAME SOURCES … DEPS … [LABELS unit|component|e2e] [TIMEOUT s]): a doctest binary that ctest runs.
function(millrace_test name)
    cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_options(${name} PRIVATE ${MILLRACE_WARNINGS})
    target_link_libraries(${name} PRIVATE ${ARG_DEPS} millrace_test_main doctest)
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
