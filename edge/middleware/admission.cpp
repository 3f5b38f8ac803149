#include "edge/middleware/admission.hpp"

#include <algorithm>
#include <cmath>

#include "shared/base/crypto.hpp"

namespace millrace::edge::middleware {

using namespace std::chrono_literals;

namespace {

constexpr auto k_window = 100ms;
constexpr std::size_t k_window_samples_min = 10;
constexpr std::size_t k_window_samples_max = 512;
constexpr int k_probe_windows = 2;  // the first still sees requests of before
constexpr double k_probe_share = 8;
constexpr auto k_probe_after_min = 30s;
constexpr std::uint32_t k_probe_after_spread_ms = 60'000;
constexpr std::size_t k_share_min = 8;
constexpr auto k_always_full_after = 1s;
constexpr auto k_late_every = 20ms;
constexpr int k_turns_per_request = 4;  // read, batch, database, answer: each waits for the thread
constexpr auto k_rate_burst = 1s;
constexpr auto k_retry_after = 1s;
constexpr Admission::Tenant k_others = 0;

std::uint64_t second_of(base::SteadyTime now) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
}

}  // namespace

ConcurrencyLimit::ConcurrencyLimit(const AdmissionOptions& options)
    : min_(static_cast<double>(options.places_min)),
      max_(static_cast<double>(options.places_max)),
      places_(std::clamp(static_cast<double>(options.places_start), min_, max_)),
      headroom_(options.headroom) {
    samples_.reserve(k_window_samples_max);
}

void ConcurrencyLimit::sample(base::SteadyTime now, std::chrono::nanoseconds latency,
                              std::size_t in_flight) {
    if (window_began_ == base::SteadyTime{}) {
        window_began_ = now;
        next_probe_ = now + k_probe_after_min;
    }
    if (samples_.size() < k_window_samples_max) samples_.push_back(latency);
    peak_ = std::max(peak_, in_flight);
    if (now - window_began_ >= k_window && samples_.size() >= k_window_samples_min)
        close_window(now);
}

void ConcurrencyLimit::close_window(base::SteadyTime now) {
    const auto lowest = *std::ranges::min_element(samples_);
    const auto at = samples_.begin() + static_cast<std::ptrdiff_t>(samples_.size() * 9 / 10);
    std::ranges::nth_element(samples_, at);
    const auto p90 = *at;
    const auto peak = std::exchange(peak_, 0);
    samples_.clear();
    window_began_ = now;

    if (probe_windows_ > 0) {
        if (--probe_windows_ > 0) return;
        best_ = lowest;
        places_ = before_probe_;
        next_probe_ = now + k_probe_after_min +
                      std::chrono::milliseconds(base::random_u32() % k_probe_after_spread_ms);
        return;
    }
    best_ = std::min(best_, lowest);
    const double gradient = std::clamp(static_cast<double>((best_ + headroom_).count()) /
                                           static_cast<double>(std::max(p90, 1ns).count()),
                                       0.5, 1.0);
    // Room that nobody asked for says nothing about how much there is.
    if (gradient < 1 || static_cast<double>(peak) * 2 >= places_)
        places_ = std::clamp(gradient * places_ + std::sqrt(places_), min_, max_);
    if (now >= next_probe_) {
        before_probe_ = places_;
        places_ = std::max(min_, places_ / k_probe_share);
        probe_windows_ = k_probe_windows;
    }
}

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
    release();
    from_ = std::exchange(other.from_, nullptr);
    priority_ = other.priority_;
    tenant_ = other.tenant_;
    since_ = other.since_;
    return *this;
}

void Admission::Ticket::release() noexcept {
    if (auto* from = std::exchange(from_, nullptr)) from->give_back(*this);
}

Admission::Admission(Executor executor, AdmissionOptions options)
    : executor_(std::move(executor)),
      options_(options),
      limit_(options),
      last_empty_(std::chrono::steady_clock::now()) {}

Admission::Stats Admission::stats() const {
    return {.places = limit_.places(),
            .in_flight = in_flight_,
            .waiting = waiting_,
            .uploads = uploads_,
            .visitors = visitors_,
            .tenants = accounts_.size(),
            .shed_full = shed_full_,
            .shed_share = shed_share_};
}

/// The account of `tenant`, which becomes that of the others when too many are known.
Admission::Account& Admission::account(Tenant& tenant, base::SteadyTime now) {
    const auto second = second_of(now);
    if (second != second_) forget_quiet(second);
    if (!accounts_.contains(tenant) && accounts_.size() >= options_.tenants_max) tenant = k_others;
    auto& found = accounts_[tenant];
    if (found.seen != second_) {
        if (found.seen + 1 < second_) ++active_;
        found.seen = second_;
    }
    return found;
}

/// Once a second: who has come in this second or the last counts as active.
void Admission::forget_quiet(std::uint64_t second) {
    second_ = second;
    active_ = 0;
    std::erase_if(accounts_, [&](const auto& entry) {
        const auto& one = entry.second;
        const bool active = one.seen + 1 >= second;
        active_ += active ? 1 : 0;
        return !active && one.in_flight == 0 && one.waiting == 0 && one.uploads == 0;
    });
}

/// How many places one tenant may hold: all when it is alone, else half of an equal part, so that
/// there is always room for who comes next.
std::size_t Admission::share() const noexcept {
    return active_ <= 1 ? limit_.places() : std::max(k_share_min, limit_.places() / (2 * active_));
}

bool Admission::has_place(const Account& account) const noexcept {
    return in_flight_ < limit_.places() && account.in_flight < share();
}

Admission::Ticket Admission::grant(Priority priority, Tenant tenant, base::SteadyTime now) {
    Ticket ticket;
    ticket.from_ = this;
    ticket.priority_ = priority;
    ticket.tenant_ = tenant;
    ticket.since_ = now;
    return ticket;
}

/// Uploads and visitors: a cap of their own, and no line.
Result<Admission::Ticket> Admission::admit_apart(Priority priority, Tenant tenant,
                                                 base::SteadyTime now) {
    if (priority == Priority::visitor) {
        if (visitors_ >= options_.visitors_max) return refused(false);
        ++visitors_;
        return grant(priority, k_others, now);
    }
    auto& mine = account(tenant, now);
    if (no_uploads_ || uploads_ >= options_.uploads_max) return refused(false);
    if (mine.uploads >= (options_.uploads_max + 1) / 2) return refused(true);
    ++uploads_;
    ++mine.uploads;
    return grant(priority, tenant, now);
}

bool Admission::over_rate(Account& account, base::SteadyTime now) const noexcept {
    if (options_.tenant_rate <= 0) return false;
    const auto each = std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(1 / options_.tenant_rate));
    const auto paid_until = std::max(account.paid_until, now) + each;
    if (paid_until > now + k_rate_burst) return true;
    account.paid_until = paid_until;
    return false;
}

std::optional<Result<Admission::Ticket>> Admission::decide(Priority priority, Tenant tenant) {
    if (priority == Priority::health) return Ticket{};
    const auto now = std::chrono::steady_clock::now();
    if (priority >= Priority::visitor) return admit_apart(priority, tenant, now);
    auto& mine = account(tenant, now);
    if (over_rate(mine, now)) return refused(true);
    if (mine.waiting == 0 && has_place(mine)) {
        ++in_flight_;
        ++mine.in_flight;
        return grant(priority, tenant, now);
    }
    if (mine.waiting >= options_.waiting_max / 4) return refused(true);
    if (waiting_ >= options_.waiting_max) return refused(false);
    return std::nullopt;
}

Task<Result<Admission::Ticket>> Admission::wait(Priority priority, Tenant tenant) {
    const auto now = std::chrono::steady_clock::now();
    auto& mine = account(tenant, now);
    const bool of_share = in_flight_ < limit_.places();
    auto& line = lines_[priority == Priority::read ? 0 : 1];
    Waiter waiter{.decided = async::Event(executor_), .tenant = tenant, .since = now};
    auto place = std::ranges::find(line, tenant, &Line::value_type::first);
    if (place == line.end()) place = line.emplace(line.end(), tenant, std::deque<Waiter*>{});
    place->second.push_back(&waiter);
    ++mine.waiting;
    ++waiting_;
    struct Leaves {
        Admission& from;
        Waiter& waiter;
        Line& line;
        ~Leaves() {
            if (waiter.outcome == Outcome::waiting) from.leave(waiter, line);
        }
    };
    {
        const Leaves leaves{*this, waiter, line};
        (void)co_await waiter.decided.wait(Deadline::at(now + options_.wait_burst));
    }
    if (waiter.outcome != Outcome::granted) co_return refused(of_share);
    co_return grant(priority, tenant, std::chrono::steady_clock::now());
}

void Admission::leave(Waiter& waiter, Line& line) {
    waiter.outcome = Outcome::dropped;
    const auto place = std::ranges::find(line, waiter.tenant, &Line::value_type::first);
    std::erase(place->second, &waiter);
    if (place->second.empty()) line.erase(place);
    --accounts_[waiter.tenant].waiting;
    if (--waiting_ == 0) last_empty_ = std::chrono::steady_clock::now();
}

Task<void> Admission::watch_thread() {
    for (;;) {
        const auto due = std::chrono::steady_clock::now() + k_late_every;
        co_await async::delay(executor_, k_late_every);
        const auto late = std::chrono::steady_clock::now() - due;
        late_ = std::max<std::chrono::nanoseconds>(late, late_ * 7 / 8);
    }
}

void Admission::give_back(const Ticket& ticket) noexcept {
    const auto now = std::chrono::steady_clock::now();
    if (ticket.priority_ == Priority::upload) {
        --uploads_;
        --accounts_[ticket.tenant_].uploads;
        return;
    }
    if (ticket.priority_ == Priority::visitor) {
        --visitors_;
        return;
    }
    const std::chrono::nanoseconds latency = now - ticket.since_;
    limit_.sample(now, latency - std::min(latency, late_ * k_turns_per_request), in_flight_);
    --in_flight_;
    --accounts_[ticket.tenant_].in_flight;
    serve_waiting(now);
}

void Admission::serve_waiting(base::SteadyTime now) {
    while (waiting_ > 0 && in_flight_ < limit_.places()) {
        if (!serve_one(lines_[0], now) && !serve_one(lines_[1], now)) break;
    }
    if (waiting_ == 0) last_empty_ = now;
}

/// Decides about one who waits: the next tenant in turn that has not got its share. False: nobody.
bool Admission::serve_one(Line& line, base::SteadyTime now) {
    const auto next = std::ranges::find_if(
        line, [&](const auto& entry) { return has_place(accounts_[entry.first]); });
    if (next == line.end()) return false;
    auto* waiter = next->second.front();
    next->second.pop_front();
    line.splice(line.end(), line, next);  // behind the others now
    if (next->second.empty()) line.erase(next);
    auto& mine = accounts_[waiter->tenant];
    --mine.waiting;
    --waiting_;
    const bool overloaded = now - last_empty_ > k_always_full_after;
    const bool stale = overloaded && now - waiter->since > options_.wait_overloaded;
    waiter->outcome = stale ? Outcome::dropped : Outcome::granted;
    if (!stale) {
        ++in_flight_;
        ++mine.in_flight;
    }
    waiter->decided.set();
    return true;
}

std::unexpected<Error> Admission::refused(bool share) {
    ++(share ? shed_share_ : shed_full_);
    return fail(share ? ErrorCode::rate_limited : ErrorCode::unavailable,
                share ? "too many requests at once" : "the service is busy; please try again",
                {.reason = std::string(k_overloaded), .retry_after = k_retry_after});
}

}  // namespace millrace::edge::middleware
