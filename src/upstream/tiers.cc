#include "upstream/tiers.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/clock.h"
#include "chat/fallback.h"

namespace hedge::upstream {
namespace {

// While two tiers race, each is looked at in turns of this length.
constexpr Milliseconds kRaceTurn{2};

using Backends = std::shared_ptr<const std::vector<Tier>>;

// One tier's answer while it is not decided who writes.
struct Runner {
  std::unique_ptr<chat::Stream> stream;
  std::optional<chat::Started> started;  // held back until the first text
};

class TierStream final : public chat::Stream {
 public:
  TierStream(Backends tiers, const chat::Outbound& outbound)
      : tiers_(std::move(tiers)), outbound_(outbound) {}
  ~TierStream() override { cancel(); }

  // Starts the next tier that takes the request.
  Status start_next() {
    const std::string& bound = outbound_.request().routing.bound_to;
    Status last = make_error(ErrorCode::kUnavailable,
                             bound.empty() ? "no upstream is left to ask"
                                           : "no upstream here is at the address and with the model of it");
    while (next_tier_ < tiers_->size()) {
      const Tier& tier = (*tiers_)[next_tier_++];
      if (!bound.empty() && !chat::is_writer(tier.backend->info(), bound)) continue;
      if (bound.empty() && next_tier_ < tiers_->size() && !tier.backend->state().available) continue;
      auto stream = tier.backend->start(outbound_);
      if (!stream.ok()) {
        if (!chat::another_may_answer(stream.error().code)) return stream.error();
        last = stream.error();
        continue;
      }
      race_at_ = tier.hedge_after_ms > 0 && next_tier_ < tiers_->size()
                     ? deadline_after(Milliseconds(tier.hedge_after_ms))
                     : kNoDeadline;
      std::lock_guard lock(mutex_);
      if (cancelled_) return make_error(ErrorCode::kCancelled, "cancelled");
      runners_.push_back({std::move(stream).value(), std::nullopt});
      return {};
    }
    return last;
  }

  Result<chat::Event> next(Deadline deadline) override {
    while (true) {
      if (pending_) {
        chat::Event event = std::move(*pending_);
        pending_ = std::exchange(second_, std::nullopt);
        return event;
      }
      if (runners_.empty()) return make_error(ErrorCode::kCancelled, "the answer has ended");
      if (decided_) return runners_.front().stream->next(deadline);
      HEDGE_TRY_SET(const bool moved, race(deadline));
      if (!moved && SteadyClock::now() >= deadline)
        return make_error(ErrorCode::kTimeout, "nothing within the deadline");
    }
  }

  void cancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (const Runner& runner : runners_) runner.stream->cancel();
  }

  // Those that failed are not among them; while nothing is decided, all that run but one.
  int losers() const override {
    return lost_ + (runners_.empty() ? 0 : static_cast<int>(runners_.size()) - 1);
  }

 private:
  // One turn of each runner, until one has text. False: nothing came in this turn.
  Result<bool> race(Deadline deadline) {
    if (SteadyClock::now() >= race_at_) {
      race_at_ = kNoDeadline;
      (void)start_next();  // the first goes on alone when there is none
    }
    for (size_t i = 0; i < runners_.size(); ++i) {
      Deadline until = std::min(deadline, race_at_);
      if (runners_.size() > 1) until = std::min(until, deadline_after(kRaceTurn));
      Result<chat::Event> event = runners_[i].stream->next(until);
      if (event.ok()) {
        take(i, std::move(event).value());
        return true;
      }
      if (event.error().code == ErrorCode::kTimeout) continue;
      HEDGE_TRY(give_up(i, std::move(event).error()));
      return true;
    }
    return false;
  }

  void take(size_t index, chat::Event event) {
    if (auto* started = std::get_if<chat::Started>(&event)) {
      runners_[index].started = std::move(*started);
      return;
    }
    const auto* delta = std::get_if<chat::Delta>(&event);
    if (delta != nullptr && delta->text.empty() && delta->tokens.empty()) return;
    decided_ = true;
    std::vector<Runner> losers;
    {
      std::lock_guard lock(mutex_);
      std::swap(runners_.front(), runners_[index]);
      std::move(runners_.begin() + 1, runners_.end(), std::back_inserter(losers));
      runners_.resize(1);
    }
    for (const Runner& loser : losers) loser.stream->cancel();
    lost_ = static_cast<int>(losers.size());
    if (runners_.front().started) {
      second_ = std::move(event);
      pending_ = std::move(*runners_.front().started);
    } else {
      pending_ = std::move(event);
    }
  }

  // A runner that failed before its first text. An error when it was the last and nobody is left.
  Status give_up(size_t index, Error error) {
    {
      std::lock_guard lock(mutex_);
      runners_.erase(runners_.begin() + static_cast<ptrdiff_t>(index));
      if (cancelled_) return make_error(ErrorCode::kCancelled, "cancelled");
    }
    if (!runners_.empty()) return {};
    if (!chat::another_may_answer(error.code)) return error;
    return start_next().ok() ? Status() : Status(std::move(error));
  }

  const Backends tiers_;
  const chat::Outbound outbound_;
  size_t next_tier_ = 0;
  Deadline race_at_ = kNoDeadline;
  bool decided_ = false;
  int lost_ = 0;
  std::optional<chat::Event> pending_, second_;

  std::mutex mutex_;  // guards runners_ and cancelled_ against cancel()
  std::vector<Runner> runners_;
  bool cancelled_ = false;
};

class Tiers final : public OpenAiBackend {
 public:
  explicit Tiers(std::vector<Tier> tiers)
      : tiers_(std::make_shared<const std::vector<Tier>>(std::move(tiers))),
        info_(tiers_->front().backend->info()) {
    for (size_t i = 0; i + 1 < tiers_->size(); ++i) info_.losers_max += (*tiers_)[i].hedge_after_ms > 0;
  }

  const chat::BackendInfo& info() const override { return info_; }

  chat::BackendState state() const override {
    chat::BackendState all = tiers_->front().backend->state();
    for (size_t i = 1; i < tiers_->size(); ++i) {
      const chat::BackendState one = (*tiers_)[i].backend->state();
      all.active += one.active;
      if (one.available) all.unavailable_reason.clear();
      all.available |= one.available;
    }
    return all;
  }

  void set_renderer(Renderer renderer) override {
    for (const Tier& tier : *tiers_) tier.backend->set_renderer(renderer);
  }

  Counters counters() const override {
    Counters sum;
    for (const Tier& tier : *tiers_) {
      const Counters one = tier.backend->counters();
      sum.requests += one.requests;
      sum.failures += one.failures;
      sum.breaker_opened += one.breaker_opened;
      sum.bytes_received += one.bytes_received;
      sum.connections_opened += one.connections_opened;
      sum.prompt_tokens += one.prompt_tokens;
      sum.completion_tokens += one.completion_tokens;
    }
    return sum;
  }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Outbound& outbound) override {
    auto stream = std::make_unique<TierStream>(tiers_, outbound);
    HEDGE_TRY(stream->start_next());
    return std::unique_ptr<chat::Stream>(std::move(stream));
  }

 private:
  const Backends tiers_;
  chat::BackendInfo info_;  // of the first, for all
};

}  // namespace

std::unique_ptr<OpenAiBackend> make_tiers(std::vector<Tier> tiers) {
  HEDGE_CHECK(!tiers.empty());
  if (tiers.size() == 1) return std::move(tiers.front().backend);
  return std::make_unique<Tiers>(std::move(tiers));
}

}  // namespace hedge::upstream
