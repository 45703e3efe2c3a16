// Upstream tokens per UTC day: reserved at their upper bound before a request goes out, settled to what it
// cost after, so that any number of concurrent answers cannot overspend. Thread-safe. The clock is passed in.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "chat/request.h"

namespace hedge::route {

class Budget {
 public:
  // One request's share. Settled once; dropped unsettled it counts in full, as nobody knows what it cost.
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept : budget_(other.budget_), tokens_(other.tokens_) {
      other.budget_ = nullptr;
    }
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() { settle(tokens_); }

    void settle(int64_t used_tokens);
    int64_t tokens() const { return tokens_; }

   private:
    friend class Budget;
    Reservation(Budget* budget, int64_t tokens) : budget_(budget), tokens_(tokens) {}
    Budget* budget_;
    const int64_t tokens_;
  };

  // `tokens_per_day` 0: no limit, only counted. `unix_ms` gives milliseconds since 1970 UTC.
  Budget(int64_t tokens_per_day, std::function<int64_t()> unix_ms);
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  void seed(int64_t used_tokens);
  // A look, not a promise: another request may be faster.
  bool fits(int64_t tokens) const;
  std::optional<Reservation> reserve(int64_t tokens);
  int64_t used_today() const;
  bool limited() const { return tokens_per_day_ > 0; }

 private:
  void turn_day_locked() const;
  bool fits_locked(int64_t tokens) const;

  const int64_t tokens_per_day_;
  const std::function<int64_t()> unix_ms_;
  mutable std::mutex mutex_;
  mutable int64_t day_ = 0;
  mutable int64_t used_ = 0;
  int64_t reserved_ = 0;  // carried over midnight: what is running may be billed on the new day
};

// Upper bound of the prompt's tokens for any tokenizer: each token is at least one byte of text, and a
// template adds a few per message.
int64_t prompt_tokens_max(const chat::Request& request);

}  // namespace hedge::route
