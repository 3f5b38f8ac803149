# The C++ codecs against the examples in schemas/events
millrace_test(event_codecs
    SOURCES event_codecs_test.cpp
    DEPS millrace_domain_knowledge millrace_domain_mail millrace_json millrace_probe
    LABELS unit)
