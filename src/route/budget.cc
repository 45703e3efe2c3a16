#include "route/budget.h"

#include <fmt/format.h>

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

// Of amounts from elsewhere: no sum overflows, none falls.
int64_t sum_of(int64_t a, int64_t b) {
  const int64_t more = std::max<int64_t>(b, 0);
  return a > INT64_MAX - more ? INT64_MAX : a + more;
}

Amount sum_of(Amount a, Amount b) { return {sum_of(a.tokens, b.tokens), sum_of(a.nanos, b.nanos)}; }
Amount most_of(Amount a, Amount b) { return {std::max(a.tokens, b.tokens), std::max(a.nanos, b.nanos)}; }
Amount least_of(Amount a, Amount b) { return {std::min(a.tokens, b.tokens), std::min(a.nanos, b.nanos)}; }
// How much `a` is above `b`.
Amount above(Amount a, Amount b) { return most_of({a.tokens - b.tokens, a.nanos - b.nanos}, {}); }

// By subtraction: no sum can overflow. Limit 0: none.
int64_t room_under(int64_t limit, int64_t used, int64_t reserved) {
  return limit <= 0 ? INT64_MAX : limit - std::min(used, limit) - reserved;
}

}  // namespace

Amount Budget::Reservation::settle(Amount used) {
  if (budget_ == nullptr) return {};
  Budget& budget = *std::exchange(budget_, nullptr);
  used = most_of(used, {});
  std::lock_guard lock(budget.mutex_);
  budget.turn_day_locked();
  Account& device = budget.accounts_[kDevice];
  Account& own = budget.accounts_[account_];
  Amount room(INT64_MAX, INT64_MAX);
  const auto release = [&](Account& account) {
    account.reserved.tokens -= amount_.tokens;
    account.reserved.nanos -= amount_.nanos;
    room = least_of(room, account.room());
  };
  release(device);
  if (account_ != kDevice) release(own);
  // What was reserved counts, whatever was seeded meanwhile.
  const Amount counted = least_of(used, most_of(room, amount_));
  const auto count_in = [&](Account& account) {
    account.used = sum_of(account.used, counted);
    account.beyond = sum_of(account.beyond, above(used, counted));
  };
  count_in(device);
  if (account_ != kDevice) count_in(own);
  // Without a limit the request carried none, and its bound was none.
  if (budget.limited(account_)) budget.surplus_ = most_of(budget.surplus_, above(used, bound_));
  return counted;
}

Budget::Budget(std::vector<Amount> limits, std::function<int64_t()> unix_ms)
    : unix_ms_(std::move(unix_ms)), day_(unix_ms_() / kDayMs) {
  HEDGE_CHECK(!limits.empty());
  for (const Amount& limit : limits) accounts_.push_back(Account{limit, {}, {}, {}});
}

void Budget::turn_day_locked() const {
  const int64_t today = unix_ms_() / kDayMs;
  if (today <= day_) return;  // a clock set back does not give the day's tokens back
  day_ = today;
  for (const Account& account : accounts_) account.used = account.beyond = {};
  surplus_ = {};
}

Amount Budget::Account::room() const {
  return {room_under(limit.tokens, used.tokens, reserved.tokens),
          room_under(limit.nanos, used.nanos, reserved.nanos)};
}

bool Budget::Account::fits(Amount amount) const {
  const Amount left = room();
  return amount.tokens <= left.tokens && amount.nanos <= left.nanos;
}

bool Budget::fits_locked(Amount amount, size_t account) const {
  return accounts_[kDevice].fits(amount) && accounts_[account].fits(amount);
}

Amount Budget::with_surplus_locked(Amount bound, size_t account) const {
  const Amount device = accounts_[kDevice].limit, own = accounts_[account].limit;
  return {device.tokens > 0 || own.tokens > 0 ? sum_of(bound.tokens, surplus_.tokens) : bound.tokens,
          device.nanos > 0 || own.nanos > 0 ? sum_of(bound.nanos, surplus_.nanos) : bound.nanos};
}

void Budget::seed(Amount used, size_t account) {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  Account& device = accounts_[kDevice];
  device.used = sum_of(device.used, used);
  Account& own = accounts_[account];
  if (account != kDevice) own.used = sum_of(own.used, used);
}

bool Budget::fits(Amount bound, size_t account) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return fits_locked(with_surplus_locked(bound, account), account);
}

std::string Budget::why_not(Amount bound, size_t account) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  const Amount amount = with_surplus_locked(bound, account);
  if (fits_locked(amount, account)) return {};
  std::string text = fmt::format(
      "up to {} tokens and {:.6f} in money do not fit in what is left of today's budget of the {}",
      amount.tokens, static_cast<double>(amount.nanos) * 1e-9,
      accounts_[kDevice].fits(amount) ? "tenant" : "device");
  if (amount.tokens > bound.tokens || amount.nanos > bound.nanos) {
    text += fmt::format("; {} tokens and {:.6f} of it since the upstream has reported more than it could use",
                        amount.tokens - bound.tokens, static_cast<double>(amount.nanos - bound.nanos) * 1e-9);
  }
  return text;
}

std::optional<Budget::Reservation> Budget::reserve(Amount bound, size_t account) {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  const Amount amount = with_surplus_locked(bound, account);
  if (!fits_locked(amount, account)) return std::nullopt;
  const auto reserve_in = [&](Account& held) {
    held.reserved.tokens += amount.tokens;
    held.reserved.nanos += amount.nanos;
  };
  reserve_in(accounts_[kDevice]);
  if (account != kDevice) reserve_in(accounts_[account]);
  return Reservation(this, account, amount, bound);
}

Amount Budget::used(size_t account) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return accounts_[account].used;
}

Amount Budget::beyond(size_t account) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return accounts_[account].beyond;
}

Amount Budget::surplus() const {
  std::lock_guard lock(mutex_);
  return surplus_;
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
