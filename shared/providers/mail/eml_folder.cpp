#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <system_error>

#include "shared/base/crypto.hpp"
#include "shared/base/fd.hpp"
#include "shared/providers/mail/mail.hpp"

namespace millrace::providers::mail {

namespace {

namespace fs = std::filesystem;

std::unexpected<Error> unavailable(std::string_view what, const fs::path& path, int number) {
    return fail(ErrorCode::unavailable, "mail cannot be sent at the moment",
                {.log = fmt::format("mail folder: cannot {} {}: {}", what, path.string(),
                                    std::generic_category().message(number)),
                 .source = fmt::format("errno:{}", number)});
}

Result<void> write_all(int fd, std::string_view bytes, const fs::path& path) {
    while (!bytes.empty()) {
        const auto written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return unavailable("write", path, errno);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::fsync(fd) != 0) return unavailable("sync", path, errno);
    return {};
}

/// link(2) is the exclusive creation: the name appears with the whole file behind it, or another
/// attempt's file keeps it.
Result<void> publish(const fs::path& temporary, const fs::path& target) {
    if (::link(temporary.c_str(), target.c_str()) != 0 && errno != EEXIST)
        return unavailable("create", target, errno);
    const base::Fd folder(::open(target.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0 || ::fsync(folder.get()) != 0)
        return unavailable("sync", target.parent_path(), errno);
    return {};
}

Result<Handed> write_mail(const fs::path& folder, const Message& message) {
    const auto target = folder / (message.id + ".eml");
    if (::access(target.c_str(), F_OK) == 0) return Handed::taken;
    if (::mkdir(folder.c_str(), 0750) != 0 && errno != EEXIST)
        return unavailable("create", folder, errno);
    // Hidden and not named .eml: what a killed process leaves is not taken for a mail.
    const auto temporary = folder / fmt::format(".{}.{}", message.id, base::random_token(8));
    const base::Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) return unavailable("create", temporary, errno);
    auto done = write_all(file.get(), message.bytes, temporary);
    if (done) done = publish(temporary, target);
    ::unlink(temporary.c_str());
    if (!done) return std::unexpected(std::move(done).error());
    return Handed::taken;
}

class EmlFolder final : public Sender {
 public:
    EmlFolder(Executor executor, async::Pool& pool, fs::path folder)
        : executor_(std::move(executor)), pool_(pool), folder_(std::move(folder)) {}

    [[nodiscard]] bool repeats_are_harmless() const noexcept override { return true; }

    Task<Result<Handed>> send(Message message, Deadline) override {
        auto shared = std::make_shared<const Message>(std::move(message));
        auto folder = folder_;
        co_return co_await async::offload(executor_, pool_,
                                          [shared, folder] { return write_mail(folder, *shared); });
    }

 private:
    Executor executor_;
    async::Pool& pool_;
    fs::path folder_;
};

}  // namespace

std::unique_ptr<Sender> make_eml_folder(Executor executor, async::Pool& pool, fs::path folder) {
    return std::make_unique<EmlFolder>(std::move(executor), pool, std::move(folder));
}

}  // namespace millrace::providers::mail
