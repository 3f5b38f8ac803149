#pragma once
// Payments behind one port.

#include <map>
#include <memory>
#include <string>

#include "shared/async/task.hpp"
#include "shared/base/time.hpp"
#include "shared/http_client/http_client.hpp"

namespace millrace::providers::payments {

struct Checkout {
    std::string plan, cycle;  ///< PRO, MONTHLY
    std::string reference;    ///< who pays, as our own events will name them
    std::string email;        ///< filled in on the page
    std::string success_url, cancel_url;
    std::string idempotency_key;
};

struct CheckoutSession {
    std::string id, url;
};

class Payments {
 public:
    virtual ~Payments() = default;
    /// A page on which the plan is paid. `invalid` (field "plan") for a plan and cycle that have no
    /// price; `unavailable` when the service refuses or is away.
    virtual Task<Result<CheckoutSession>> checkout(Checkout checkout, Deadline deadline) = 0;
};

struct StripeOptions {
    std::string base_url, key;
    std::map<std::string, std::string> prices;  ///< "PRO:MONTHLY" -> price id
};
/// `http` outlives it.
std::unique_ptr<Payments> make_stripe(http_client::Client& http, StripeOptions options);

}  // namespace millrace::providers::payments
