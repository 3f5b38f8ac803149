# shared/providers/objects without a service: signatures, and answers in XML
millrace_test(objects_unit
    SOURCES objects_s3_test.cpp
    DEPS millrace_providers_objects millrace_base
    LABELS unit)
