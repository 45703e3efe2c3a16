#include "route/budget.h"

#include <algorithm>
#include <utility>

namespace hedge::route {
namespace {

constexpr int64_t kDayMs = 24LL * 60 * 60 * 1000;
// Role names, separators and the generation prompt: ChatML takes 4 to 8 per turn, the wordiest templates
// about twice that.
constexpr int64_t kTemplateTokensPerMessage = 16;
// A default system prompt that a template puts in ("You are a helpful assistant ..."); the longest known are
// near this.
constexpr int64_t kTemplateTokens = 64;

}  // namespace

void Budget::Reservation::settle(int64_t used_tokens) {
  if (budget_ == nullptr) return;
  Budget& budget = *std::exchange(budget_, nullptr);
  std::lock_guard lock(budget.mutex_);
  budget.turn_day_locked();
  budget.reserved_ -= tokens_;
  budget.used_ += std::max<int64_t>(used_tokens, 0);
}

Budget::Budget(int64_t tokens_per_day, std::function<int64_t()> unix_ms)
    : tokens_per_day_(tokens_per_day), unix_ms_(std::move(unix_ms)), day_(unix_ms_() / kDayMs) {}

void Budget::turn_day_locked() const {
  const int64_t today = unix_ms_() / kDayMs;
  if (today <= day_) return;  // a clock set back does not give the day's tokens back
  day_ = today;
  used_ = 0;
}

bool Budget::fits_locked(int64_t tokens) const {
  if (tokens_per_day_ <= 0) return true;
  // By subtraction: no sum can overflow.
  const int64_t left = tokens_per_day_ - std::min(used_, tokens_per_day_);
  return reserved_ <= left && tokens <= left - reserved_;
}

void Budget::seed(int64_t used_tokens) {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  used_ += std::max<int64_t>(used_tokens, 0);
}

bool Budget::fits(int64_t tokens) const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return fits_locked(tokens);
}

std::optional<Budget::Reservation> Budget::reserve(int64_t tokens) {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  if (!fits_locked(tokens)) return std::nullopt;
  reserved_ += tokens;
  return Reservation(this, tokens);
}

int64_t Budget::used_today() const {
  std::lock_guard lock(mutex_);
  turn_day_locked();
  return used_;
}

int64_t prompt_tokens_max(const chat::Request& request) {
  size_t bytes = request.prompt.size() + request.assistant_prefix.size();
  for (const chat::Message& message : request.messages) bytes += message.content.size() + message.name.size();
  return static_cast<int64_t>(bytes) + kTemplateTokens +
         kTemplateTokensPerMessage * static_cast<int64_t>(request.messages.size() + 1);
}

}  // namespace hedge::route
