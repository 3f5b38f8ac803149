# System libraries, each as one target that our libraries name in DEPS.

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(OpenSSL REQUIRED)

pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(GMIME REQUIRED IMPORTED_TARGET gmime-3.0)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
pkg_check_modules(LIBXML2 REQUIRED IMPORTED_TARGET libxml-2.0)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(QRENCODE REQUIRED IMPORTED_TARGET libqrencode)

find_library(SIMDJSON_LIBRARY simdjson REQUIRED)
find_path(SIMDJSON_INCLUDE simdjson.h REQUIRED)
add_library(simdjson INTERFACE)
target_include_directories(simdjson SYSTEM INTERFACE ${SIMDJSON_INCLUDE})
target_link_libraries(simdjson INTERFACE ${SIMDJSON_LIBRARY})

find_path(DOCTEST_INCLUDE doctest/doctest.h REQUIRED)
add_library(doctest INTERFACE)
target_include_directories(doctest SYSTEM INTERFACE ${DOCTEST_INCLUDE})

# Asio and Beast: headers, compiled once in shared/async (Asio) and edge/server (Beast).
add_library(asio INTERFACE)
target_link_libraries(asio INTERFACE Boost::headers Threads::Threads)
target_compile_definitions(asio INTERFACE
    BOOST_ASIO_SEPARATE_COMPILATION
    BOOST_BEAST_SEPARATE_COMPILATION
    BOOST_ASIO_NO_DEPRECATED
    BOOST_ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=32)
