# The object stores: a folder of its own, and an S3-compatible server that the test starts
millrace_test(object_store_component
    SOURCES object_store_test.cpp s3_store_test.cpp
    DEPS millrace_object_store millrace_providers_objects millrace_test_proxy
    LABELS component)
