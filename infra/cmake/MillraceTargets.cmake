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
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" RESOURCE_LOCK servers TIMEOUT ${ARG_TIMEOUT})
endfunction()

# millrace_python_tests(LABEL [TIMEOUT s] [ALONE]): each test_*.py of this folder as one ctest test LABEL_*, one at a time: it
# starts its own private stack of the release binaries. Beside it the lint may run, ALONE nothing. The distribution's Python:
# scripts/setup installs its packages.
find_program(MILLRACE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
function(millrace_python_tests label)
    cmake_parse_arguments(ARG "ALONE" "TIMEOUT" "" ${ARGN})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 600)
    endif()
    file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/test_*.py)
    foreach(file ${files})
        get_filename_component(name ${file} NAME_WE)
        string(REGEX REPLACE "^test_" "${label}_" name ${name})
        add_test(NAME ${name} COMMAND ${MILLRACE_PYTHON} ${file} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        set_tests_properties(${name} PROPERTIES LABELS ${label} RUN_SERIAL ${ARG_ALONE} RESOURCE_LOCK servers TIMEOUT ${ARG_TIMEOUT})
    endforeach()
endfunction()
