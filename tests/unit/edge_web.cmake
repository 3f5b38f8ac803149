# edge/web: escaping, forms, and who may post them
millrace_test(edge_web_unit SOURCES edge_web_test.cpp DEPS millrace_edge_web LABELS unit)
