#pragma once
// Mail out, behind one port.

#include <filesystem>
#include <memory>
#include <string>

#include "shared/async/offload.hpp"
#include "shared/async/task.hpp"
#include "shared/base/time.hpp"
#include "shared/providers/mail/mime.hpp"

namespace millrace::providers::mail {

class Sender {
 public:
    virtual ~Sender() = default;
    /// Whether sending a message of the same id once more changes nothing. Where it does not, the
    /// caller keeps account of what it has sent.
    [[nodiscard]] virtual bool repeats_are_harmless() const noexcept = 0;
    /// What is said after `unavailable`, `rate_limited` and `timeout` may be said again: the
    /// message was not taken. `invalid`: it will never be taken.
    virtual Task<Result<void>> send(Message message, Deadline deadline) = 0;
};

/// Writes `<id>.eml` into `folder`, once: whole or not at all, and never again.
std::unique_ptr<Sender> make_eml_folder(Executor executor, async::Pool& pool,
                                        std::filesystem::path folder);

}  // namespace millrace::providers::mail
