# the searcher and the vectors in PostgreSQL, on a database of their own
millrace_test(search_component
    SOURCES search_test.cpp
    DEPS millrace_domain_knowledge millrace_postgres millrace_providers_vector millrace_workers_ops millrace_kafka
    LABELS component)
