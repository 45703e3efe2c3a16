// Upstream tokens and money per UTC day, of the whole device and of each tenant: reserved at their upper
// bound before a request goes out, settled to what it cost after, so that any number of concurrent answers
// cannot overspend. Thread-safe. The clock is passed in.
//
// An upstream may report more than was reserved. It counts as far as the budgets have room, so that none is
// ever above its limit, and is noted beyond; and until the day ends every request reserves that much more
// (surplus()), so that what was too little once is not allowed again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
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
        : budget_(other.budget_), account_(other.account_), amount_(other.amount_), bound_(other.bound_) {
      other.budget_ = nullptr;
    }
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() { settle(amount_); }

    // What counts of `used`: all of it, as long as no limit is passed.
    Amount settle(Amount used);
    Amount amount() const { return amount_; }

   private:
    friend class Budget;
    Reservation(Budget* budget, size_t account, Amount amount, Amount bound)
        : budget_(budget), account_(account), amount_(amount), bound_(bound) {}
    Budget* budget_;
    const size_t account_;
    const Amount amount_;  // that is held
    const Amount bound_;   // the same without the surplus
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
  bool fits(Amount bound, size_t account = kDevice) const;
  // Why it does not fit, for people, without what others have used; empty where it does.
  std::string why_not(Amount bound, size_t account = kDevice) const;
  // Of kDevice and of `account` at once, or of none.
  std::optional<Reservation> reserve(Amount bound, size_t account = kDevice);
  Amount used(size_t account = kDevice) const;
  // Reported today, and not in used(): there was no room for it.
  Amount beyond(size_t account = kDevice) const;
  // What each request reserves above its own bound where a limit holds: the most that an upstream has
  // reported beyond a bound today.
  Amount surplus() const;
  int64_t used_today() const { return used().tokens; }
  Amount limit(size_t account = kDevice) const { return accounts_[account].limit; }
  bool limited(size_t account = kDevice) const;

 private:
  struct Account {
    Amount limit;
    mutable Amount used, beyond;
    Amount reserved;  // carried over midnight: what is running may be billed on the new day

    bool fits(Amount amount) const;
    // What may be added to `used` without passing a limit, with what is reserved held back.
    Amount room() const;
  };

  void turn_day_locked() const;
  bool fits_locked(Amount amount, size_t account) const;
  // A request's bound as it is to be reserved.
  Amount with_surplus_locked(Amount bound, size_t account) const;

  std::vector<Account> accounts_;  // their number and limits never change
  const std::function<int64_t()> unix_ms_;
  mutable std::mutex mutex_;
  mutable int64_t day_ = 0;
  mutable Amount surplus_;
};

// Upper bound of the prompt's tokens for any tokenizer: each token is at least one byte of text, and a
// template adds a few per message.
int64_t prompt_tokens_max(const chat::Request& request);

}  // namespace hedge::route
