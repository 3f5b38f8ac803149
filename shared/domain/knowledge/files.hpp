#pragma once
// Documents of a tenant: their rows, and the visible generation of their chunks. All calls run as
// millrace_app with the tenant set; edge and workers share them.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shared/base/time.hpp"
#include "shared/domain/identity/principal.hpp"
#include "shared/domain/jobs/job.hpp"
#include "shared/object_store/object_store.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::knowledge {

using base::FileId;
using base::TenantId;

struct NewFile {
    FileId id = FileId::make();
    std::string file_name, file_type, title;
    std::optional<std::string> description;
    std::vector<std::string> tags;
    object_store::Ref object;
};

/// A document as its owner sees it.
struct File {
    FileId id;
    std::string file_name, file_type, title;
    std::string status;  ///< pending | processing | completed | failed
    std::int64_t file_size = 0;
    base::WallTime created_at, updated_at;
    std::optional<std::string> description, reason;
    std::vector<std::string> tags;
    base::JobId job;
    std::int32_t chunk_count = 0;
};

struct FileFilter {
    std::int64_t skip = 0, limit = 100;
    std::optional<std::string> file_type, status, search, tag;
    std::optional<base::JobId> job;  ///< whose embedding job this is
    std::optional<FileId> id;
};

/// A passage of a document as it is searched.
struct StoredChunk {
    std::int32_t index = 0, page_first = 1, page_last = 1;
    std::string text;
};

/// What the embedding job is asked to do; the event's data (millrace.document.uploaded.v1).
struct DocumentUploaded {
    FileId file;
    std::string file_name, file_type, title;
    object_store::Ref object;
    /// Its chunks wait for the whole index to be made anew. (Events of documents whose
    /// row is there are written by document_event(), schemas/sql/0018_index_generations.sql.)
    std::optional<base::Uuid> index_generation;
};
[[nodiscard]] std::string to_json(const DocumentUploaded& event);
[[nodiscard]] Result<DocumentUploaded> parse_document_uploaded(std::string_view json);

/// One chunk about to be staged.
struct StagedChunk {
    std::int32_t index, page_first, page_last;
    std::string text, terms;
};

class Files {
 public:
    explicit Files(postgres::Database& app) : app_(app) {}

    /// File row, job and announcement in one transaction. False when this job's file was written
    /// before (a repeated request).
    Task<Result<bool>> create(identity::Principal owner, NewFile file, jobs::NewJob job,
                              base::Uuid outbox, Deadline deadline);
    Task<Result<std::vector<File>>> list(TenantId tenant, FileFilter filter, Deadline deadline);
    Task<Result<std::optional<File>>> find_by_job(TenantId tenant, base::JobId job,
                                                  Deadline deadline);
    Task<Result<std::optional<File>>> find(TenantId tenant, FileId id, Deadline deadline);
    /// Of the live generation, from `first` on; nullopt when there is no such file.
    Task<Result<std::optional<std::vector<StoredChunk>>>> chunks(TenantId tenant, FileId id,
                                                                 std::int64_t first,
                                                                 std::int64_t limit,
                                                                 Deadline deadline);
    /// `job` (whose input is filled in) is to make its chunks anew, in one transaction with its
    /// announcement; until it has, the old ones are searched. Nullopt when there is no such file.
    Task<Result<std::optional<jobs::NewJob>>> reindex(TenantId tenant, FileId id, jobs::NewJob job,
                                                      base::Uuid outbox, Deadline deadline);
    /// The object to remove; nullopt when there is no such file.
    Task<Result<std::optional<std::string>>> remove(TenantId tenant, FileId id, Deadline deadline);

    /// Of all its documents.
    Task<Result<std::int64_t>> stored_bytes(TenantId tenant, Deadline deadline);

    Task<Result<std::int64_t>> next_generation(Deadline deadline);
    /// Writes chunks where nobody sees them. `not_found` when the file has been deleted meanwhile.
    Task<Result<void>> stage(TenantId tenant, FileId file, std::int64_t generation,
                             std::vector<StagedChunk> chunks, Deadline deadline);

 private:
    postgres::Database& app_;
};

/// Effects of a finished embedding job: the generation becomes visible, the others go, the tenant's
/// searches are told.
[[nodiscard]] std::vector<postgres::Call> publish_generation(TenantId tenant, FileId file,
                                                             std::int64_t generation,
                                                             std::int32_t chunks);
/// Effects of an embedding job whose document can never be read.
[[nodiscard]] std::vector<postgres::Call> mark_failed(FileId file, std::string_view reason);

}  // namespace millrace::domain::knowledge
