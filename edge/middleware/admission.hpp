#pragma once
// Admission: how many requests are worked on at once, and who goes first when that is not all.
//
// The limit adapts to latency (a gradient, as in Netflix' and Envoy's adaptive concurrency).
// Whoever finds no place waits in a short line: reads before writes, tenants in turn; what has
// waited too long is refused while the line never empties (controlled delay, so that a burst is
// served and an overload is not). A tenant beside others holds at most its share of the places: 429
// tells it so, 503 tells everyone that the edge is full. Health checks are always admitted.
// Uploads, which last as long as their sender likes, and visitors without a credential, whose
// passwords are hashed, are counted on their own, so that they neither fill the places nor blur the
// latency. One thread.

#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "shared/async/event.hpp"
#include "shared/base/result.hpp"

namespace millrace::edge::middleware {

/// The reason of an Error that only says that there was no place.
inline constexpr std::string_view k_overloaded = "OVERLOADED";

enum class Priority : std::uint8_t { health, read, write, visitor, upload };

struct AdmissionOptions {
    std::size_t places_min = 16;
    std::size_t places_start = 256;
    std::size_t places_max = 2048;
    std::size_t waiting_max = 1024;  ///< a tenant may be a quarter of it
    std::size_t uploads_max = 64;    ///< one tenant may have half of them
    std::size_t visitors_max = 256;
    double tenant_rate = 0;          ///< requests per second, a second's worth at once; 0: no limit
    std::size_t tenants_max = 4096;  ///< known at once; those beyond share one account
    std::chrono::milliseconds headroom{100};        ///< latency above the best that costs no place
    std::chrono::milliseconds wait_burst{500};      ///< in line, while it empties now and then
    std::chrono::milliseconds wait_overloaded{50};  ///< in line, once it has not for a second
};

/// (best + headroom) / p90 × limit + √limit every 100 ms; the best latency is measured anew, with
/// few places, every 30 to 90 s.
class ConcurrencyLimit {
 public:
    explicit ConcurrencyLimit(const AdmissionOptions& options);

    void sample(base::SteadyTime now, std::chrono::nanoseconds latency, std::size_t in_flight);
    [[nodiscard]] std::size_t places() const noexcept { return static_cast<std::size_t>(places_); }
    [[nodiscard]] std::chrono::nanoseconds best() const noexcept { return best_; }

 private:
    void close_window(base::SteadyTime now);

    double min_, max_, places_, before_probe_ = 0;
    std::chrono::nanoseconds headroom_, best_ = std::chrono::nanoseconds::max();
    std::vector<std::chrono::nanoseconds> samples_;
    std::size_t peak_ = 0;
    int probe_windows_ = 0;
    base::SteadyTime window_began_{}, next_probe_{};
};

class Admission {
 public:
    using Tenant = std::uint64_t;

    /// A place; given back when it ends, or earlier by a request that only waits from then on.
    class Ticket {
     public:
        Ticket() = default;
        Ticket(Ticket&& other) noexcept { *this = std::move(other); }
        Ticket& operator=(Ticket&& other) noexcept;
        ~Ticket() { release(); }
        void release() noexcept;

     private:
        friend class Admission;
        Admission* from_ = nullptr;
        Priority priority_ = Priority::health;
        Tenant tenant_ = 0;
        base::SteadyTime since_{};
    };

    Admission(Executor executor, AdmissionOptions options);

    /// A place, or a refusal, when that can be said at once; nullopt: wait(). `rate_limited`: this
    /// tenant has its share; `unavailable`: the edge is full.
    std::optional<Result<Ticket>> decide(Priority priority, Tenant tenant);
    /// Waits in line, after decide() has said so.
    Task<Result<Ticket>> wait(Priority priority, Tenant tenant);

    /// Measures how late this thread is, as long as it runs. Slowness that comes from a busy thread
    /// does not count against the places: fewer of them would not mend it.
    Task<void> watch_thread();
    /// Set while memory is short: no uploads.
    void refuse_uploads(bool refuse) noexcept { no_uploads_ = refuse; }

    struct Stats {
        std::size_t places = 0, in_flight = 0, waiting = 0, uploads = 0, visitors = 0, tenants = 0;
        std::uint64_t shed_full = 0, shed_share = 0;
    };
    [[nodiscard]] Stats stats() const;

 private:
    enum class Outcome : std::uint8_t { waiting, granted, dropped };
    struct Waiter {
        async::Event decided;
        Tenant tenant;
        base::SteadyTime since;
        Outcome outcome = Outcome::waiting;
    };
    struct Account {
        std::size_t in_flight = 0, waiting = 0, uploads = 0;
        std::uint64_t seen = 0;       ///< the second in which it last came
        base::SteadyTime paid_until;  ///< at the tenant's rate (GCRA)
    };
    /// Those who wait with one priority: a queue per tenant, tenants in turn.
    using Line = std::list<std::pair<Tenant, std::deque<Waiter*>>>;

    Account& account(Tenant& tenant, base::SteadyTime now);
    void forget_quiet(std::uint64_t second);
    [[nodiscard]] std::size_t share() const noexcept;
    [[nodiscard]] bool has_place(const Account& account) const noexcept;
    Result<Ticket> admit_apart(Priority priority, Tenant tenant, base::SteadyTime now);
    bool over_rate(Account& account, base::SteadyTime now) const noexcept;
    Ticket grant(Priority priority, Tenant tenant, base::SteadyTime now);
    void give_back(const Ticket& ticket) noexcept;
    void serve_waiting(base::SteadyTime now);
    bool serve_one(Line& line, base::SteadyTime now);
    void leave(Waiter& waiter, Line& line);
    std::unexpected<Error> refused(bool share);

    Executor executor_;
    AdmissionOptions options_;
    ConcurrencyLimit limit_;
    std::array<Line, 2> lines_;  ///< reads, writes
    std::unordered_map<Tenant, Account> accounts_;
    std::size_t in_flight_ = 0, waiting_ = 0, uploads_ = 0, visitors_ = 0, active_ = 0;
    std::uint64_t second_ = 0;
    base::SteadyTime last_empty_;
    std::chrono::nanoseconds late_{0};
    std::uint64_t shed_full_ = 0, shed_share_ = 0;
    bool no_uploads_ = false;
};

}  // namespace millrace::edge::middleware
