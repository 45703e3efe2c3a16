#include "route/budget.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace hedge::route {
namespace {

constexpr int64_t kDayMs = 24LL * 60 * 60 * 1000;
// Role names, separators and the generation prompt: ChatML takes 4 to 8 per turn, the wordiest templates
// about twice that.
constexpr int64_t kTemplateTokensPerMessage = 16;
// A default system prompt that a template puts in ("You are a helpful assistant ..."); the longest known are
// near this.
constexpr int64_t kTemplateTokens = 64;

// By subtraction: no sum can overflow. Limit 0: none.
bool fits_under(int64_t limit, int64_t used, int64_t reserved, int64_t wanted) {
  if (limit <= 0) return true;
  const int64_t left = limit - std::min(used, limit);
  return reserved <= left && wanted <= left - reserved;
}

void add(Amount& sum, Amount used) {
  sum.tokens += std::max<int64_t>(used.tokens, 0);
  sum.nanos += std::max<int64_t>(used.nanos, 0);
}

}  // namespace

void Budget::Reservation::settle(Amount used) {
  if (budget_ == nullptr) return;
  Budget& budget = *std::exchange(budget_, nullptr);
  std::lock_guard lock(budget.mutex_);
  budget.turn_day_locked();
  const auto settle_in = [&](Account& account) {
    account.reserved.tokens -= amount_.tokens;
    account.reserved.nanos -= amount_.nanos;
    add(account.used, used);
  };
  settle_in(budget.accounts_[kDevice]);
  if (account_ != kDevice) settle_in(budget.accounts_[account_]);
}

Budget::Budget(std::vector<Amount> limits, std::function<int64_t()> unix_ms)
    : unix_ms_(std::move(unix_ms)), day_(unix_ms_() / kDayMs) {
  HEDGE_CHECK(!limits.empty());
  for (const Amount& limit : limits) accounts_.push_back(Account{limit, {}, {}});
}

void Budget::turn_day_locked() const {
  const int64_t today = unix_ms_() / kDayMs;
  if (today <= day_) return;  // a clock set back does not give the day's tokens back
  day_ = today;
  for (const Account& account : accounts_) account.used = {};
}

bool Budget::fits_locked(Amount amount, size_t account) const {
  const auto fits_in = [&](const Account& held) {
    return fits_under(held.limit.tokens, held.used.tokens, held.reserved.tokens, amount.tokens) &&
           fits_under(held.limit.nanos, held.used.nanos, held.reserved.nanos, amount.nanos);
  };
  return fits_in(accounts_[kDevice]) && fits_in(accounts_[account]);
}

void Budget::seed(Amount used, size_t account) {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  add(accounts_[kDevice].used, used);
  if (account != kDevice) add(accounts_[account].used, used);
}

bool Budget::fits(Amount amount, size_t account) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return fits_locked(amount, account);
}

std::optional<Budget::Reservation> Budget::reserve(Amount amount, size_t account) {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  if (!fits_locked(amount, account)) return std::nullopt;
  const auto reserve_in = [&](Account& held) {
    held.reserved.tokens += amount.tokens;
    held.reserved.nanos += amount.nanos;
  };
  reserve_in(accounts_[kDevice]);
  if (account != kDevice) reserve_in(accounts_[account]);
  return Reservation(this, account, amount);
}

Amount Budget::used(size_t account) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return accounts_[account].used;
}

bool Budget::limited(size_t account) const {
  const auto has_limit = [](const Amount& limit) { return limit.tokens > 0 || limit.nanos > 0; };
  return has_limit(accounts_[kDevice].limit) || has_limit(accounts_[account].limit);
}

int64_t prompt_tokens_max(const chat::Request& request) {
  size_t bytes = request.prompt.size() + request.assistant_prefix.size();
  for (const chat::Message& message : request.messages) {
    bytes += message.content.size() + message.name.size() + message.tool_call_id.size();
    for (const chat::ToolCall& call : message.tool_calls)
      bytes += 2 * (call.id.size() + call.name.size() + call.arguments.size() + call.extra.size()) + 64;
  }
  // Templates write JSON anew, with line breaks and indents.
  bytes += 2 * request.tools.size() + request.tool_choice.size();
  return static_cast<int64_t>(bytes) + kTemplateTokens +
         kTemplateTokensPerMessage * static_cast<int64_t>(request.messages.size() + 1);
}

}  // namespace hedge::route
