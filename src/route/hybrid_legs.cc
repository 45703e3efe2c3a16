// HybridStream's dealings with backends: starting one in the place of another, what each cost, and handing on
// what they wrote.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "privacy/unmask_stream.h"
#include "route/hybrid_stream.h"
#include "route/learned.h"
#include "route/situation.h"
#include "route/word_end.h"

namespace hedge::route {

// ---- Starting a backend

// The request as it stands now: what was written is the start of the assistant's turn.
chat::Request HybridStream::request_from_here() const {
  chat::Request leg = request_;
  leg.assistant_prefix = text_;
  if (text_tokens_known_ && request_.assistant_prefix.empty()) leg.assistant_prefix_tokens = text_tokens_;
  if (const std::optional<int> left = tokens_left()) leg.max_tokens = *left;
  return leg;
}

Status HybridStream::go_local(Phase phase) {
  chat::Request leg = request_from_here();
  leg.want_confidence =
      request_.want_confidence || phase == Phase::kLocalHeld ||
      (phase == Phase::kLocal && may_go_upstream_ && core_->policy.confidence.enabled && !forced_);
  const bool resumes = phase == Phase::kLocalResume;
  if (resumes && !nothing_written()) leg.heal_prefix = !cut_at_word_end_ && may_end_inside_word(text_);
  Result<std::unique_ptr<chat::Stream>> stream = core_->local.start(leg);
  if (!stream.ok()) return std::move(stream).error();
  if (!open_leg(Side::kLocal, phase, std::move(stream).value())) return {};
  may_go_upstream_ = may_go_upstream_ && !resumes;
  if (resumes && upstream_failed_) {
    because("local.resumed", fmt::format("after {} bytes", text_.size() - request_.assistant_prefix.size()));
    core_->count([](Counters& counters) { ++counters.resumed_local; });
  }
  return {};
}

// The one door. Whether it opened or not, it is not tried again in this answer.
bool HybridStream::go_upstream() {
  if (!may_go_upstream_) return false;
  const std::optional<int> left = tokens_left();
  if (left && *left <= 0) return false;  // the local model is about to end
  may_go_upstream_ = false;
  chat::Upstream& upstream = *core_->upstream;
  const chat::BackendState state = upstream.state();
  if (!state.available) {
    because("upstream.unavailable", state.unavailable_reason);
    return false;
  }
  privacy::Leg leg{text_, {}, left.value_or(-1)};
  if (text_tokens_known_ && request_.assistant_prefix.empty()) leg.prefix_tokens = text_tokens_;
  if (core_->budget.limited(account_) && leg.max_tokens < 0)
    leg.max_tokens = core_->policy.upstream_answer_tokens_max;
  // It has judged the request; the local model's text since then is new.
  privacy::Passage passage = core_->gate.pass(judged_, leg);
  if (!passage.outbound) {
    because(passage.finding.outcome == Privacy::kFound ? "gate.personal_data" : "gate.unjudged",
            passage.finding.detail);
    core_->count([](Counters& counters) { ++counters.kept_private; });
    return false;
  }
  prompt_tokens_reserved_ = prompt_tokens_max(passage.outbound->request());
  const Amount bound =
      bound_of(core_->policy, prompt_tokens_reserved_, leg.max_tokens, upstream.info().losers_max);
  std::optional<Budget::Reservation> reservation = core_->budget.reserve(bound, account_);
  if (!reservation) {
    because("gate.over_budget", core_->budget.why_not(bound, account_),
            static_cast<double>(core_->budget.used(account_).tokens),
            static_cast<double>(core_->budget.limit(account_).tokens));
    return false;
  }
  if (passage.table) {
    note("gate.masked", passage.finding.detail, passage.values);
    core_->count([](Counters& counters) { ++counters.sent_masked; });
  }
  Result<std::unique_ptr<chat::Stream>> stream = upstream.start(*passage.outbound);
  if (stream.ok() && passage.table)
    stream = privacy::unmasked(std::move(stream).value(), std::move(passage.table));
  if (!stream.ok()) {
    reservation->settle(0);
    because("upstream.failed", stream.error().to_text());
    upstream_failed_ = true;
    core_->count([](Counters& counters) { ++counters.upstream_failed; });
    return false;
  }
  if (open_leg(Side::kUpstream, Phase::kUpstream, std::move(stream).value())) {
    reservation_.emplace(*std::move(reservation));
    upstream_at_ = SteadyClock::now();
    const Milliseconds wait = core_->race_after();
    race_at_ = plan_.upstream_only ? kNoDeadline
               : race_at_once_     ? upstream_at_
               : wait.count() > 0  ? deadline_after(wait)
                                   : kNoDeadline;
  } else {
    reservation->settle(0);
  }
  return true;
}

// Puts the stream in the place of the running one, which is cancelled. False: the answer was cancelled
// meanwhile; next() will see it.
bool HybridStream::open_leg(Side side, Phase phase, std::unique_ptr<chat::Stream> stream) {
  close_leg(nullptr);
  leg_ = Leg{side, false, 0};
  started(side) = chat::Started{info(side).name, info(side).model, 0, 0, info(side).endpoint};
  phase_ = phase;
  bool opened = false;
  {
    std::lock_guard lock(mutex_);
    opened = !cancelled_;
    if (opened) std::swap(inner_, stream);
  }
  // What `stream` holds now is the old one, or the new one when the answer was cancelled.
  if (stream) stream->cancel();
  return opened;
}

void HybridStream::close_leg(const chat::Usage* reported) {
  const chat::Started& began = started(leg_.side);
  if (leg_.side == Side::kUpstream) settle_upstream(reported);
  observe_speed(reported);
  const int completion =
      reported != nullptr && reported->completion_tokens > 0 ? reported->completion_tokens : leg_.tokens;
  usage_.completion_tokens += completion;
  if (reported != nullptr) {
    usage_.prefill_ms += reported->prefill_ms;
    usage_.decode_ms += reported->decode_ms;
    usage_.draft_tokens += reported->draft_tokens;
    usage_.draft_tokens_accepted += reported->draft_tokens_accepted;
  }
  // The prompt is that of the backend which began the answer; later ones read the answer's start as well.
  const bool contributed = reported != nullptr || leg_.tokens > 0;
  if (contributed && !usage_has_prompt_) {
    const bool said = reported != nullptr && reported->prompt_tokens > 0;
    usage_.prompt_tokens = said ? reported->prompt_tokens : began.prompt_tokens;
    usage_.cached_tokens = said ? reported->cached_tokens : began.cached_tokens;
    usage_has_prompt_ = usage_.prompt_tokens > 0;
  }
  leg_ = Leg{};
}

void HybridStream::settle_upstream(const chat::Usage* reported) {
  if (!reservation_) return;
  if (reported != nullptr && (reported->prompt_tokens > 0 || reported->completion_tokens > 0)) {
    charge_upstream(reported->prompt_tokens, reported->completion_tokens);
  } else if (leg_.answered) {
    // It worked and did not say how much: the prompt at its bound (or as the local model counted it), the
    // pieces that came.
    const int said = started(Side::kUpstream).prompt_tokens;
    charge_upstream(said > 0 ? said : prompt_tokens_reserved_, leg_.tokens);
  } else {
    // One that failed has billed nothing; one that was given up while it was silent has read the prompt.
    charge_upstream(upstream_failed_ ? 0 : prompt_tokens_reserved_, 0);
  }
}

// Losers of a race between upstreams are charged their prompt at the bound, like the upstream that loses
// against the local model.
void HybridStream::charge_upstream(int64_t prompt_tokens, int64_t completion_tokens) {
  if (!reservation_) return;
  if (inner_) prompt_tokens += inner_->losers() * prompt_tokens_reserved_;
  const Amount reported(prompt_tokens + completion_tokens,
                        cost_nanos(core_->policy.prices, prompt_tokens, completion_tokens));
  const Amount reserved = reservation_->amount();
  const Amount counted = reservation_->settle(reported);
  reservation_.reset();
  trace_.upstream_tokens += counted.tokens;
  trace_.upstream_nanos += counted.nanos;
  const auto prompts = static_cast<double>(std::min(prompt_tokens, counted.tokens));
  if (prompts > 0) trace_.facts.push_back({kUpstreamPromptFact, {}, prompts, false});
  if (!core_->budget.limited(account_)) return;  // the request had no limit
  if (reported.tokens <= reserved.tokens && reported.nanos <= reserved.nanos) return;
  const double money = 1e-9;
  note("budget.overbilled",
       fmt::format("{} tokens and {:.6f} in money were reported, {} and {:.6f} reserved, {} and {:.6f} count",
                   reported.tokens, static_cast<double>(reported.nanos) * money, reserved.tokens,
                   static_cast<double>(reserved.nanos) * money, counted.tokens,
                   static_cast<double>(counted.nanos) * money),
       static_cast<double>(reported.tokens), static_cast<double>(reserved.tokens));
  core_->count([](Counters& counters) { ++counters.upstream_overbilled; });
}

// What the answer took, for the next predictions. A part that was broken off tells its beginning only.
void HybridStream::observe_speed(const chat::Usage* reported) {
  if (leg_.side == Side::kLocal) {
    if (reported != nullptr) core_->predictor.observe_local(*reported);
    return;
  }
  if (leg_.first_at == SteadyClock::time_point()) return;
  const std::chrono::duration<double, std::milli> rest = SteadyClock::now() - leg_.first_at;
  const bool counted = reported != nullptr && reported->completion_tokens > 0;
  core_->predictor.observe_upstream(reported == nullptr ? 0 : rest.count(), reported == nullptr ? 0
                                                                            : counted
                                                                                ? reported->completion_tokens
                                                                                : leg_.tokens);
}

// ---- The local model beside a silent upstream

// The upstream's next event; or a timeout after the local model had its turn, which may have decided the
// race.
Result<chat::Event> HybridStream::next_of_race(Deadline deadline) {
  constexpr Milliseconds kTurn{2};  // while both run, each is looked at in turns of this length
  Result<chat::Event> event =
      inner_->next(racer_ ? std::min(deadline, deadline_after(kTurn)) : std::min(deadline, race_at_));
  if (cancelled_ || event.ok() || event.error().code != ErrorCode::kTimeout) return event;
  if (!racer_) {
    if (SteadyClock::now() >= race_at_) start_racer();
    return event;
  }
  Result<chat::Event> local = racer_->next(SteadyClock::now());
  if (!local.ok()) {
    if (local.error().code != ErrorCode::kTimeout) drop_racer();  // the upstream is waited for alone
  } else if (auto* said = std::get_if<chat::Started>(&local.value())) {
    racer_started_ = std::move(*said);
  } else if (auto* delta = std::get_if<chat::Delta>(&local.value())) {
    racer_wins(std::move(*delta));
  } else {
    drop_racer();  // an end without text is no answer while the upstream may give one
  }
  return event;
}

void HybridStream::start_racer() {
  race_at_ = kNoDeadline;
  chat::Request leg = request_from_here();
  if (!nothing_written()) leg.heal_prefix = !cut_at_word_end_ && may_end_inside_word(text_);
  Result<std::unique_ptr<chat::Stream>> stream = core_->local.start(leg);
  if (!stream.ok()) return;
  if (!race_at_once_)
    note("local.races", fmt::format("no text after {:.0f} ms", seconds_since(upstream_at_) * 1000));
  core_->count([](Counters& counters) { ++counters.races; });
  std::lock_guard lock(mutex_);
  if (cancelled_) return;
  racer_ = std::move(stream).value();
}

void HybridStream::racer_wins(chat::Delta delta) {
  if (!race_at_once_)
    because("upstream.slow", fmt::format("no text after {:.0f} ms", seconds_since(upstream_at_) * 1000));
  switch_reason_ = "upstream.slow";
  core_->count([](Counters& counters) { ++counters.races_won; });
  if (race_at_once_) note("race.won", name(Side::kLocal));
  charge_upstream(prompt_tokens_reserved_, 0);
  if (!take_racer(Phase::kLocalResume)) return;
  if (racer_started_) started(Side::kLocal) = *std::exchange(racer_started_, std::nullopt);
  leg_.answered = true;
  emit(std::move(delta));
}

// The racer takes the place of the running stream, which is cancelled.
bool HybridStream::take_racer(Phase phase) {
  std::unique_ptr<chat::Stream> racer;
  {
    std::lock_guard lock(mutex_);
    racer = std::move(racer_);
  }
  held_.clear();
  return open_leg(Side::kLocal, phase, std::move(racer));
}

// Its first text: a race, if there is one, is won.
void HybridStream::upstream_writes() {
  const double first_ms = seconds_since(upstream_at_) * 1000;
  core_->predictor.observe_first_text(first_ms);
  trace_.facts.push_back({"upstream_text_ms", {}, first_ms, false});
  if (race_at_once_) note("race.won", name(Side::kUpstream));
  drop_racer();
}

void HybridStream::drop_racer() {
  race_at_ = kNoDeadline;
  racer_started_.reset();
  std::unique_ptr<chat::Stream> old;
  {
    std::lock_guard lock(mutex_);
    old = std::move(racer_);
  }
  if (old) old->cancel();
}

// ---- Handing on

void HybridStream::announce(Side side, const std::string& reason) {
  if (announced_ == side) return;
  if (!announced_) {
    out_.emplace_back(started(side));
  } else {
    out_.emplace_back(chat::Switched{name(*announced_), name(side), reason, started(side).endpoint});
  }
  announced_ = side;
}

// A piece without tokens (a cut one, an upstream's) makes those of the whole unknown.
void HybridStream::note_tokens(const chat::Delta& delta) {
  for (const chat::TokenInfo& token : delta.tokens) {
    text_tokens_known_ = text_tokens_known_ && leg_.side == Side::kLocal && token.chosen.id >= 0;
    if (text_tokens_known_) text_tokens_.push_back(token.chosen.id);
  }
  if (delta.tokens.empty() && !delta.text.empty()) text_tokens_known_ = false;
}

bool HybridStream::emit(chat::Delta delta) {
  if (delta.text.empty() && delta.tokens.empty()) return true;
  const int tokens = tokens_in(delta);
  leg_.tokens += tokens;
  answer_tokens_ += tokens;
  text_ += delta.text;
  note_tokens(delta);
  if (leg_.first_at == SteadyClock::time_point() && !delta.text.empty()) leg_.first_at = SteadyClock::now();
  // An upstream's part ends where it ends, a local one where it was cut.
  if (leg_.side == Side::kUpstream && !delta.text.empty()) cut_at_word_end_ = false;
  if (withheld_.empty() || withheld_.back().side != leg_.side) {
    withheld_.push_back(Withheld{leg_.side, switch_reason_, 0, {}});
  }
  Withheld& last = withheld_.back();
  last.bytes += delta.text.size();
  std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(last.tokens));
  release(stops_.push(delta.text));
  if (!stops_.stopped()) return true;
  finish(chat::Done{});
  return false;
}

// Hands on `text`, the beginning of what is withheld, each backend's part as its own; and the tokens of the
// part where it ends, so that they do not wait for their text.
void HybridStream::release(std::string_view text) {
  while (!withheld_.empty()) {
    Withheld& first = withheld_.front();
    const size_t bytes = std::min(first.bytes, text.size());
    hand_on(first.side, first.reason,
            chat::Delta{std::string(text.substr(0, bytes)), std::exchange(first.tokens, {})});
    text.remove_prefix(bytes);
    first.bytes -= bytes;
    if (first.bytes > 0) return;
    withheld_.pop_front();
  }
}

void HybridStream::hand_on(Side side, const std::string& reason, chat::Delta delta) {
  if (delta.text.empty() && delta.tokens.empty()) return;
  if (!delta.text.empty() && trace_.segments.empty())
    trace_.facts.push_back({"first_text_ms", {}, seconds_since(began_at_) * 1000, false});
  announce(side, reason);
  chat::append_segment(trace_.segments, name(side), delta.text.size());
  out_.emplace_back(std::move(delta));
}

void HybridStream::finish(chat::Done done) {
  if (!stops_.stopped()) release(stops_.flush());  // no stop string came of it
  if (!announced_) announce(leg_.side, {});
  if (trace_.segments.empty()) {
    trace_.route = leg_.side == Side::kLocal ? "local" : "upstream";
  } else {
    const std::string local = name(Side::kLocal);
    const auto is_local = [&](const chat::Segment& segment) { return segment.backend == local; };
    const bool all = std::all_of(trace_.segments.begin(), trace_.segments.end(), is_local);
    const bool none = std::none_of(trace_.segments.begin(), trace_.segments.end(), is_local);
    trace_.route = all ? "local" : none ? "upstream" : "mixed";
  }
  // Nothing spoke against the local model: the last thing that was looked at is why it stayed.
  if (trace_.reasons.empty()) trace_.reasons.push_back(trace_.steps.back().what);
  close_leg(&done.usage);
  trace_.total_ms = seconds_since(began_at_) * 1000;
  trace_.facts.push_back({"answer_tokens", {}, static_cast<double>(usage_.completion_tokens), false});
  core_->count([&](Counters& counters) {
    ++(trace_.route == "local"      ? counters.local
       : trace_.route == "upstream" ? counters.upstream
                                    : counters.mixed);
  });
  if (user_escalates_ && core_->environment.learn)
    core_->environment.learn(trace_.id, kind_, vote_of(Signal::kEscalate, true));
  end();
  done.usage = usage_;
  done.trace = told_;
  out_.emplace_back(std::move(done));
}

void HybridStream::fail(Error error) {
  core_->count([](Counters& counters) { ++counters.failed; });
  end();
  error_ = std::move(error);
}

// ---- Small things

const chat::BackendInfo& HybridStream::info(Side side) const {
  return side == Side::kLocal ? core_->local.info() : core_->upstream->info();
}

// Of several upstreams as one, the one that writes.
std::string HybridStream::name(Side side) const {
  const std::string& said = started_[static_cast<size_t>(side)].backend;
  return said.empty() ? info(side).name : said;
}

void HybridStream::note(std::string_view what, std::string detail, double value, double threshold) {
  const auto at_ms = static_cast<int64_t>(seconds_since(began_at_) * 1000);
  trace_.steps.push_back(chat::Step{at_ms, std::string(what), std::move(detail), value, threshold});
}

void HybridStream::because(std::string_view what, std::string detail, double value, double threshold) {
  note(what, std::move(detail), value, threshold);
  trace_.reasons.emplace_back(what);
}

std::optional<int> HybridStream::tokens_left() const {
  if (request_.max_tokens < 0) return std::nullopt;
  return request_.max_tokens - answer_tokens_;
}

}  // namespace hedge::route
