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

enum class Handed : std::uint8_t {
    taken,
    perhaps,  ///< all was said, and the answer never came
};

class Sender {
 public:
    virtual ~Sender() = default;
    /// Whether sending a message of the same id once more changes nothing. Where it does not, the
    /// caller keeps account of what it has sent.
    [[nodiscard]] virtual bool repeats_are_harmless() const noexcept = 0;
    /// An error means that it was not taken. `unavailable`: it may be tried again. `invalid`: the
    /// server will never take it; `reason` is MAIL_REFUSED.
    virtual Task<Result<Handed>> send(Message message, Deadline deadline) = 0;
};

/// Writes `<id>.eml` into `folder`, once: whole or not at all, and never again.
std::unique_ptr<Sender> make_eml_folder(Executor executor, async::Pool& pool,
                                        std::filesystem::path folder);

/// Submits to the server of `url` (smtp://user:password@host:port or smtps://), on `pool`, one
/// thread per conversation. STARTTLS is required unless the host is loopback. `ca_file`: what its
/// certificate is held against, empty: the system's. `invalid` when the URL is none of these.
[[nodiscard]] Result<std::unique_ptr<Sender>> make_smtp(Executor executor, async::Pool& pool,
                                                        const std::string& url,
                                                        std::string ca_file);

}  // namespace millrace::providers::mail
