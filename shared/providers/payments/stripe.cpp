// POST {base}/v1/checkout/sessions, form-encoded.

#include <fmt/format.h>

#include "shared/json/reader.hpp"
#include "shared/providers/payments/payments.hpp"

namespace millrace::providers::payments {

namespace {

std::string form_encoded(const std::vector<std::pair<std::string, std::string>>& fields) {
    std::string out;
    const auto append = [&out](std::string_view text) {
        for (const char c : text) {
            const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                               (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
            out +=
                plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    };
    for (const auto& [name, value] : fields) {
        if (!out.empty()) out += '&';
        append(name);
        out += '=';
        append(value);
    }
    return out;
}

std::unexpected<Error> away(std::string log) {
    return fail(ErrorCode::unavailable, "the payment service does not answer as it should",
                {.log = std::move(log), .reason = "PAYMENTS_UNAVAILABLE"});
}

class Stripe final : public Payments {
 public:
    Stripe(http_client::Client& http, StripeOptions options)
        : http_(http), options_(std::move(options)) {}

    Task<Result<CheckoutSession>> checkout(Checkout wanted, Deadline deadline) override {
        const auto price = options_.prices.find(wanted.plan + ":" + wanted.cycle);
        if (price == options_.prices.end()) {
            co_return fail(ErrorCode::invalid, "plan: is not sold for this billing cycle",
                           {.field = "plan"});
        }
        http_client::Request request{
            .method = "POST",
            .url = options_.base_url + "/v1/checkout/sessions",
            .headers = {{"Authorization", "Bearer " + options_.key},
                        {"Content-Type", "application/x-www-form-urlencoded"},
                        {"Idempotency-Key", wanted.idempotency_key}},
            .body = form_encoded({{"mode", "subscription"},
                                  {"line_items[0][price]", price->second},
                                  {"line_items[0][quantity]", "1"},
                                  {"client_reference_id", wanted.reference},
                                  {"customer_email", wanted.email},
                                  {"metadata[plan]", wanted.plan},
                                  {"subscription_data[metadata][tenant_id]", wanted.reference},
                                  {"success_url", wanted.success_url},
                                  {"cancel_url", wanted.cancel_url}}),
            .profile = http_client::Profile::operator_configured};
        const auto response = co_await http_.send(std::move(request), deadline);
        if (!response) co_return away(response.error().log);
        if (response->status != 200)
            co_return away(
                fmt::format("checkout: {}: {}", response->status, response->body.substr(0, 500)));
        const auto document = json::parse(response->body);
        if (!document) co_return away("checkout: the answer is not JSON");
        auto in = document->reader();
        CheckoutSession session{.id = in.string("id", {1, 500}),
                                .url = in.string("url", {1, 4000})};
        if (in.error() ||
            !(session.url.starts_with("https://") || session.url.starts_with("http://")))
            co_return away("checkout: the answer lacks id and url");
        co_return session;
    }

 private:
    http_client::Client& http_;
    StripeOptions options_;
};

}  // namespace

std::unique_ptr<Payments> make_stripe(http_client::Client& http, StripeOptions options) {
    return std::make_unique<Stripe>(http, std::move(options));
}

}  // namespace millrace::providers::payments
