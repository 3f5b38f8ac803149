# shared/domain/diary, and what of shared/domain/identity it alone uses
millrace_test(diary_unit
    SOURCES diary_totp_test.cpp diary_profile_test.cpp
    DEPS millrace_domain_diary millrace_base
    LABELS unit)
