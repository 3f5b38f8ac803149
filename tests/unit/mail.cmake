# Letters: every template in both languages, and their MIME
millrace_test(mail_unit
    SOURCES mail_mime_test.cpp mail_templates_test.cpp
    DEPS millrace_workers_mail millrace_providers_mail millrace_json
    LABELS unit)
