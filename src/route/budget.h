// Upstream tokens and money per UTC day, of the whole device and of each tenant: reserved at their upper
// bound before a request goes out, settled to what it cost after, so that any number of concurrent answers
// cannot overspend. Thread-safe. The clock is passed in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "chat/request.h"

namespace hedge::route {

// Prompt and completion tokens, and what they cost in billionths of the currency.
struct Amount {
  Amount(int64_t tokens_in = 0, int64_t nanos_in = 0) : tokens(tokens_in), nanos(nanos_in) {}
  int64_t tokens;
  int64_t nanos;
};

class Budget {
 public:
  // One request's share. Settled once; dropped unsettled it counts in full, as nobody knows what it cost.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept
        : budget_(other.budget_), account_(other.account_), amount_(other.amount_) {
      other.budget_ = nullptr;
    }
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() { settle(amount_); }

    void settle(Amount used);
    int64_t tokens() const { return amount_.tokens; }
    Amount amount() const { return amount_; }

   private:
    friend class Budget;
    Reservation(Budget* budget, size_t account, Amount amount)
        : budget_(budget), account_(account), amount_(amount) {}
    Budget* budget_;
    const size_t account_;
    const Amount amount_;
  };

  static constexpr size_t kDevice = 0;  // the account that everything counts in

  // `limits` per day, by account; kDevice is there. 0: no limit, only counted. `unix_ms` gives milliseconds
  // since 1970 UTC.
  Budget(std::vector<Amount> limits, std::function<int64_t()> unix_ms);
  Budget(int64_t tokens_per_day, std::function<int64_t()> unix_ms)
      : Budget(std::vector<Amount>{Amount(tokens_per_day)}, std::move(unix_ms)) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // What was used before; in kDevice as well as in `account`.
  void seed(Amount used, size_t account = kDevice);
  // A look, not a promise: another request may be faster.
  bool fits(Amount amount, size_t account = kDevice) const;
  // Of kDevice and of `account` at once, or of none.
  std::optional<Reservation> reserve(Amount amount, size_t account = kDevice);
  Amount used(size_t account = kDevice) const;
  int64_t used_today() const { return used().tokens; }
  Amount limit(size_t account = kDevice) const { return accounts_[account].limit; }
  bool limited(size_t account = kDevice) const;

 private:
  struct Account {
    Amount limit;
    mutable Amount used;
    Amount reserved;  // carried over midnight: what is running may be billed on the new day
  };

  void turn_day_locked() const;
  bool fits_locked(Amount amount, size_t account) const;

  std::vector<Account> accounts_;  // their number and limits never change
  const std::function<int64_t()> unix_ms_;
  mutable std::mutex mutex_;
  mutable int64_t day_ = 0;
};

// Upper bound of the prompt's tokens for any tokenizer: each token is at least one byte of text, and a
// template adds a few per message.
int64_t prompt_tokens_max(const chat::Request& request);

}  // namespace hedge::route
