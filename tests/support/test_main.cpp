#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "shared/base/crypto.hpp"

int main(int argc, char** argv) {
    millrace::base::crypto_init();
    return doctest::Context(argc, argv).run();
}
