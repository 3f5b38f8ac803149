# shared/object_store against a folder of its own
millrace_test(object_store_component
    SOURCES object_store_test.cpp
    DEPS millrace_object_store
    LABELS component)
