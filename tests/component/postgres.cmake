# shared/postgres against a real server, some of it through a proxy that fails on demand
millrace_test(postgres_component
    SOURCES postgres_test.cpp
    DEPS millrace_postgres millrace_test_proxy
    LABELS component
    TIMEOUT 240)

# Every named statement of the project. An object that nothing refers to would stay out of the program, and its statements
# with it: the archives that own statements are taken whole.
set(statement_owners
    millrace_postgres millrace_domain_audit millrace_domain_billing millrace_domain_diary millrace_domain_identity millrace_domain_jobs millrace_domain_knowledge millrace_domain_objects
    millrace_edge_middleware millrace_edge_surfaces millrace_providers_vector
    millrace_workers_mail millrace_workers_ops millrace_workers_runtime)
set(whole_archives ${statement_owners})
list(TRANSFORM whole_archives REPLACE "(.+)" "$<TARGET_FILE:\\1>")
millrace_test(statements
    SOURCES statements_test.cpp
    DEPS -Wl,--whole-archive ${whole_archives} -Wl,--no-whole-archive ${statement_owners}
    LABELS component)
