# shared/domain/knowledge: the text core
millrace_test(knowledge_unit
    SOURCES knowledge_text_test.cpp knowledge_search_test.cpp knowledge_answer_test.cpp knowledge_upload_test.cpp knowledge_vectors_test.cpp
    DEPS millrace_domain_knowledge millrace_base
    LABELS unit)
# workers/embedding/extract: what runs in the sandbox
millrace_test(extract_unit
    SOURCES extract_test.cpp
    DEPS millrace_embedding_extract millrace_embedding_extract_formats PkgConfig::ZLIB
    LABELS unit)
