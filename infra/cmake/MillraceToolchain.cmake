# Which compilers build Millrace, and with which flags.

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13.3)
    message(FATAL_ERROR
        "GCC ${CMAKE_CXX_COMPILER_VERSION} miscompiles coroutines: it destroys temporaries twice in expressions that hold "
        "a co_await together with a braced aggregate, an owning-capture lambda or a class-typed ?:. "
        "Use clang 19 (the presets do) or GCC 14.")
endif()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)

set(MILLRACE_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=")
option(MILLRACE_FUZZ "Build the libFuzzer targets" OFF)

find_program(MILLRACE_CCACHE ccache)
if(MILLRACE_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER
        ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
        CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${MILLRACE_CCACHE})  # every checkout shares its objects
endif()

add_compile_options(-g1)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    add_compile_options(-Xclang -fno-pch-timestamp)  # lets ccache serve objects built with a PCH
    add_link_options(-fuse-ld=lld)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O0")  # with sanitizers, -O1 takes twice as long to compile
if(MILLRACE_FUZZ)
    set(CMAKE_CXX_FLAGS_DEBUG "-O1")
endif()

if(MILLRACE_SANITIZE)
    add_compile_options(-fsanitize=${MILLRACE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${MILLRACE_SANITIZE})
else()
    add_compile_options($<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
endif()
if(MILLRACE_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)  # coverage in the libraries too; tests/fuzz links the driver
endif()
add_compile_options(-fstack-protector-strong -fstack-clash-protection -fcf-protection)
add_compile_definitions(_GLIBCXX_ASSERTIONS)
add_link_options(-pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)

# Warnings are errors on our own code only (system headers come in as SYSTEM).
set(MILLRACE_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wno-missing-field-initializers -Werror)
