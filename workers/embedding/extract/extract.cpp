#include "workers/embedding/extract/extract.hpp"

#include <fmt/format.h>

#include <fstream>

#include "workers/embedding/extract/page_text.hpp"
#include "workers/embedding/extract/pdf.hpp"
#include "workers/embedding/extract/refusal.hpp"

namespace millrace::workers::embedding::extract {

namespace {

std::unexpected<Error> refused(Refusal refusal, std::string_view log) {
    Error error{.code = ErrorCode::invalid,
                .detail = std::string(sentence(refusal)),
                .log = std::string(log),
                .field = "file",
                .reason = {}};
    error.reason = reason(refusal);
    return std::unexpected(std::move(error));
}

sandbox::Command command_line(const Programs& programs, const std::filesystem::path& file,
                              const std::string& file_type) {
    if (file_type == "pdf")
        return {.argv = {programs.pdftotext, "-enc", "UTF-8", "-", "-"},
                .input = file,
                .read_only = {}};
    return {.argv = {programs.extract, file_type}, .input = file, .read_only = {programs.extract}};
}

/// How the program ended, unless it ended well. 127 and below 10 are no refusals of ours: the
/// machine is at fault, not the file.
std::optional<Refusal> refusal_of(const sandbox::Output& output, const std::string& file_type) {
    if (output.exit_code == 0) return std::nullopt;
    if (output.exit_code > 128)
        return Refusal::too_complex;  // out of memory or CPU time, or a bug in the parser
    return file_type == "pdf" ? pdf_refusal(output.exit_code, output.err)
                              : refusal_of_exit_code(output.exit_code);
}

}  // namespace

Task<Result<Document>> extract(sandbox::Sandbox& sandbox, Programs programs,
                               std::filesystem::path file, std::string file_type,
                               Deadline deadline) {
    if (file_type == "pdf" && !pdf_is_complete(file))
        co_return refused(Refusal::pdf_truncated, "no end-of-file marker");
    auto output = co_await sandbox.run(command_line(programs, file, file_type), deadline);
    if (!output) {
        if (output.error().code == ErrorCode::too_large)
            co_return refused(Refusal::too_much_text, output.error().log);
        co_return std::unexpected(std::move(output).error());
    }
    if (const auto refusal = refusal_of(*output, file_type))
        co_return refused(*refusal, output->err);
    if (output->exit_code != 0) {
        co_return fail(ErrorCode::unavailable, "the document could not be read at the moment",
                       {.log = fmt::format("the extractor ended with {}: {}", output->exit_code,
                                           output->err)});
    }
    Document document;
    auto text = keep_valid_utf8(output->out);
    if (file_type != "pdf") {
        const auto line = std::min(text.find('\n'), text.size());
        document.title = text.substr(0, line);
        text.erase(0, line + 1);
    }
    if (!has_text(text))
        co_return refused(file_type == "pdf" ? Refusal::pdf_no_text : Refusal::no_text, "no text");
    for (const auto page : split_pages(text)) {
        std::string clean;
        append_clean(clean, page);
        document.pages.push_back(
            {static_cast<std::int32_t>(document.pages.size()) + 1, std::move(clean)});
    }
    co_return document;
}

}  // namespace millrace::workers::embedding::extract
