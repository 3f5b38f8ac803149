millrace_test(failpoint_unit SOURCES failpoint_test.cpp DEPS millrace_base LABELS unit)
