#pragma once
// A tenant's index made anew beside the one that is searched, and which of the two is live
// (schemas/sql/0018_index_generations.sql). All calls run as millrace_app with the tenant set.

#include <optional>
#include <string>
#include <vector>

#include "shared/base/time.hpp"
#include "shared/domain/identity/principal.hpp"
#include "shared/domain/jobs/job.hpp"
#include "shared/postgres/postgres.hpp"

namespace millrace::domain::knowledge {

struct IndexGeneration {
    base::Uuid id;
    std::optional<base::JobId> job;  ///< none: what was there before the first
    std::string status;              ///< building | live | retired | rejected | failed
    bool kept = true;                ///< may be made live again
    std::optional<std::string> reason;
    std::optional<double> score_before, score_after;  ///< recall@5 of the question set, 0 to 1
    std::int64_t files_total = 0, files_done = 0, files_failed = 0;
    base::WallTime created_at;
    std::optional<base::WallTime> live_at;
};

/// One question that the index must be able to answer from any of these documents.
struct CheckQuestion {
    std::string question;
    std::vector<base::FileId> files;
};
/// {"questions": [{"question", "file_ids": […]}]}; `invalid` names the member.
[[nodiscard]] Result<std::vector<CheckQuestion>> decode_question_set(std::string_view body);
[[nodiscard]] std::string to_json(const std::vector<CheckQuestion>& questions);

/// What the job is asked to do; its event's data (millrace.reindex.requested.v1).
struct ReindexRequested {
    base::Uuid index_generation;
};
[[nodiscard]] std::string to_json(const ReindexRequested& event);
[[nodiscard]] Result<ReindexRequested> parse_reindex_requested(std::string_view json);

class IndexGenerations {
 public:
    explicit IndexGenerations(postgres::Database& app) : app_(app) {}

    struct Started {
        base::Uuid id;
        base::JobId job;                      ///< ends when the generation is live, or is not to be
        std::optional<base::Uuid> announced;  ///< outbox row of the first documents
    };
    /// The generation that is building already, where there is one.
    Task<Result<Started>> start(identity::Principal owner, telemetry::TraceContext trace,
                                Deadline deadline);
    /// Newest first.
    Task<Result<std::vector<IndexGeneration>>> list(base::TenantId tenant, Deadline deadline);
    Task<Result<std::optional<IndexGeneration>>> find(base::TenantId tenant, base::Uuid id,
                                                      Deadline deadline);
    /// Makes one live that is kept, whether it was live before or was not to be. How many
    /// documents' chunks changed; nullopt when there is no such generation.
    Task<Result<std::optional<std::int32_t>>> activate(base::TenantId tenant, base::Uuid id,
                                                       Deadline deadline);
    /// Documents that are searched now and could not be embedded: "name: reason", at most `limit`.
    Task<Result<std::vector<std::string>>> losses(base::TenantId tenant, base::Uuid id,
                                                  std::int64_t limit, Deadline deadline);

    Task<Result<std::vector<CheckQuestion>>> questions(base::TenantId tenant, Deadline deadline);
    /// None removes the set. `invalid` when a document is not the tenant's.
    Task<Result<void>> set_questions(base::TenantId tenant, std::vector<CheckQuestion> questions,
                                     Deadline deadline);

 private:
    Task<Result<std::vector<IndexGeneration>>> find_all(base::TenantId tenant,
                                                        std::optional<base::Uuid> id,
                                                        Deadline deadline);
    postgres::Database& app_;
};

/// Effects of an embedding job whose chunks wait; where nobody waits for them any more they go.
[[nodiscard]] std::vector<postgres::Call> stage_in_generation(base::Uuid generation,
                                                              base::FileId file,
                                                              std::int64_t chunk_generation,
                                                              std::int32_t chunks);
/// Releases what comes next, once one of its jobs has ended: an Outcome's `releases`.
[[nodiscard]] postgres::Call advance_generation(base::Uuid generation);

struct Scores {
    double before = 0, after = 0;
};
/// Effects of the job that judges it: live (which may take a minute),
[[nodiscard]] std::vector<postgres::Call> go_live(base::Uuid generation,
                                                  std::optional<Scores> scores);
/// or `rejected` or `failed`.
[[nodiscard]] std::vector<postgres::Call> turn_down(base::Uuid generation, std::string_view status,
                                                    std::string_view reason,
                                                    std::optional<Scores> scores);

/// Of all tenants, as millrace_pipeline: advances what is building, although a job of it ended
/// without a word. The outbox rows to announce.
Task<Result<std::vector<base::Uuid>>> advance_generations(postgres::Database& pipeline,
                                                          Deadline deadline);
/// Gives up the way back to what was replaced a week ago; how many generations.
Task<Result<std::int64_t>> expire_generations(postgres::Database& pipeline, Deadline deadline);
/// Removes chunks of generations that nobody may want back; of how many documents.
Task<Result<std::int64_t>> prune_generations(postgres::Database& pipeline, int batch,
                                             Deadline deadline);

}  // namespace millrace::domain::knowledge
