#include "route/hybrid_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "chat/fallback.h"
#include "route/prompt_score.h"
#include "route/situation.h"
#include "route/word_end.h"

namespace hedge::route {
namespace {

// How much of the text before a cut decides whether it ends a word; the longest character is 4 bytes.
constexpr size_t kTailBytes = 16;

std::string_view tail_of(std::string_view text) {
  return text.size() > kTailBytes ? text.substr(text.size() - kTailBytes) : text;
}

}  // namespace

// ---- Start and end

Result<std::unique_ptr<chat::Stream>> HybridStream::start(std::shared_ptr<Core> core,
                                                          const chat::Request& request) {
  std::unique_ptr<HybridStream> stream(new HybridStream(std::move(core), request));
  const Status begun = stream->begin();
  if (!begun.ok()) {
    stream->core_->count([](Counters& counters) { ++counters.failed; });
    stream->end();
    return begun.error();
  }
  return std::unique_ptr<chat::Stream>(std::move(stream));
}

HybridStream::HybridStream(std::shared_ptr<Core> core, const chat::Request& request)
    : core_(std::move(core)),
      judged_(core_->gate.judge(std::make_shared<const chat::Request>(request))),
      request_(judged_.request()),
      forced_(request.routing.escalate_after.has_value()),
      account_(account_of(core_->policy, request.routing.tenant)),
      text_(request.assistant_prefix),
      stops_(request.stop),
      in_flight_(core_->policy.confidence, core_->environment.thresholds.get(), request) {
  trace_.id = request.id;
  trace_.session = request.routing.session;
  trace_.created_ms = unix_time_ms();
  trace_.path = request.way.path;
  trace_.tenant = request.routing.tenant;
}

HybridStream::~HybridStream() {
  if (phase_ == Phase::kEnded) return;
  core_->count([](Counters& counters) { ++counters.cancelled; });
  end();
}

// Looks at everything that is known before the first token, and decides.
void HybridStream::decide_first() {
  const Policy& policy = core_->policy;
  const Environment& environment = core_->environment;
  const privacy::Finding& finding = judged_.finding();
  Situation situation = situation_of(request_, finding.outcome);
  situation.facts.has_upstream = core_->upstream != nullptr;
  std::string unavailable_reason;
  int losers_max = 0;
  if (core_->upstream != nullptr) {
    losers_max = core_->upstream->info().losers_max;
    chat::BackendState state = core_->upstream->state();
    situation.facts.upstream_available = state.available;
    unavailable_reason = std::move(state.unavailable_reason);
  }
  if (const std::string& bound = request_.routing.bound_to; !bound.empty())
    situation.facts.bound = chat::is_writer(core_->local.info(), bound) ? Bound::kLocal : Bound::kUpstream;
  const Amount bound = bound_of(policy, prompt_tokens_max(request_), request_.max_tokens, losers_max);
  situation.facts.budget_left = core_->budget.fits(bound, account_);
  if (environment.device) situation.rule.device = environment.device();
  situation.gain.value = policy.gain_prior;
  if (environment.gain && finding.outcome == Privacy::kClean) situation.gain = environment.gain(request_);
  if (environment.bias) situation.bias = environment.bias(situation.kind);
  kind_ = situation.kind;
  situation.speeds = core_->predictor.speeds();
  const chat::BackendState local = core_->local.state();
  situation.load.active = local.active;
  situation.load.queued = local.queued;
  plan_ = make_plan(situation, policy);
  // In a conversation that has begun it says that what came from here was not enough.
  user_escalates_ = situation.conversation_begun && plan_.gate->name == "gate.request_upstream";
  trace_.facts = facts_of(situation);

  const Gate& gate = *plan_.gate;
  if (gate.is_privacy) core_->count([](Counters& counters) { ++counters.kept_private; });
  std::string detail = gate.is_privacy && !situation.facts.private_session ? finding.detail : std::string();
  if (gate.name == "gate.upstream_unavailable") detail = unavailable_reason;
  if (gate.name == "gate.over_budget") detail = core_->budget.why_not(bound, account_);
  if (gate.effect == Effect::kOpen) {
    note(gate.name, std::move(detail));
    note_plan();
  } else {
    if (gate.name == "gate.policy_local") note_plan();
    because(gate.name, std::move(detail));
  }
}

// The rule, the predictions and the formula's terms; only what took part in the decision.
void HybridStream::note_plan() {
  const std::string_view strategy = to_string(plan_.strategy);
  if (plan_.rule != nullptr) {
    note("policy.rule", fmt::format("{}: {}", plan_.rule->name, strategy));
  } else if (plan_.strategy != Strategy::kLocalFirst) {
    note("policy.default", std::string(strategy));
  }
  const Prediction& soon = plan_.prediction;
  if (plan_.weighed || plan_.strategy == Strategy::kDeadline) {
    note("predicted.local_ms",
         fmt::format("{:.0f} tokens read, {:.0f} written", soon.prompt_tokens, soon.answer_tokens),
         soon.local_ms, plan_.weighed ? 0 : plan_.deadline_ms);
    note("predicted.upstream_ms", {}, soon.upstream_ms, plan_.weighed ? 0 : plan_.deadline_ms);
  }
  if (plan_.weighed) {
    for (size_t i = 0; i < plan_.terms.size(); ++i)
      note(fmt::format("formula.{}", kTermNames[i]), {}, plan_.terms[i]);
  }
  if (plan_.why == plan_.gate->name) return;
  const double value = plan_.weighed ? plan_.net : plan_.strategy == Strategy::kDeadline ? soon.local_ms : 0;
  const double threshold = plan_.strategy == Strategy::kDeadline ? plan_.deadline_ms : 0;
  if (plan_.begin == Begin::kLocal) {
    note(plan_.why, {}, value, threshold);
  } else {
    because(plan_.why, {}, value, threshold);
  }
}

// What the last user message, or the raw prompt, lets expect of the upstream.
bool HybridStream::prompt_promises_gain() {
  const std::string* text = &request_.prompt;
  if (!request_.raw) {
    const auto last = std::find_if(request_.messages.rbegin(), request_.messages.rend(),
                                   [](const chat::Message& m) { return m.role == chat::Role::kUser; });
    if (last == request_.messages.rend()) return false;
    text = &last->content;
  }
  const double gain = core_->prompt_score->score(*text);
  const double gain_min = core_->policy.prompt.gain_min;
  const bool goes = gain >= gain_min;
  if (goes) {
    because("prompt.score", "expected gain", gain, gain_min);
  } else {
    note("prompt.score", "expected gain", gain, gain_min);
  }
  return goes;
}

// Where only the upstream may answer and it cannot. A tool that was called has had its effect, so no backend
// begins the loop anew.
Error HybridStream::only_upstream(std::string_view why) const {
  const std::string& bound = request_.routing.bound_to;
  const bool away =
      plan_.gate->effect == Effect::kGoUpstream || plan_.gate->name == "gate.upstream_unavailable";
  const ErrorCode code =
      away || plan_.gate->name == "gate.over_budget" ? ErrorCode::kUnavailable : ErrorCode::kUnsupported;
  if (bound.empty()) {
    return make_error(code,
                      fmt::format("tools: only an upstream can call them, and it may not or cannot: {}", why),
                      "tools");
  }
  return make_error(
      code,
      fmt::format(
          "messages: {} {}, and cannot go on ({}); no other backend may take its place",
          chat::name_of_writer(bound),
          request_.routing.bound_by_state ? "keeps state of this conversation" : "began this tool loop", why),
      "messages");
}

Status HybridStream::begin() {
  decide_first();
  may_go_upstream_ = plan_.may_go_upstream;
  if (plan_.upstream_only) {
    if (plan_.gate->effect != Effect::kGoUpstream) return only_upstream(plan_.gate->name);
    if (go_upstream()) return {};
    return only_upstream(trace_.steps.back().detail.empty() ? trace_.steps.back().what
                                                            : trace_.steps.back().detail);
  }
  const bool from_the_start = forced_ && *request_.routing.escalate_after <= 0;
  const bool open = plan_.gate->effect == Effect::kOpen;
  race_at_once_ = plan_.begin == Begin::kRace;
  if (plan_.begin == Begin::kUpstream || race_at_once_ || (may_go_upstream_ && from_the_start)) {
    if (open && from_the_start) because("forced", "before the first token");
    if (go_upstream()) {
      if (open && from_the_start) core_->count([](Counters& counters) { ++counters.escalated_first; });
      return {};
    }
    return go_local(Phase::kLocalResume);
  }
  const bool by_prompt = core_->policy.prompt.enabled && plan_.strategy == Strategy::kLocalFirst;
  if (may_go_upstream_ && !forced_ && by_prompt && prompt_promises_gain()) {
    if (go_upstream()) {
      core_->count([](Counters& counters) { ++counters.escalated_first; });
      return {};
    }
    return go_local(Phase::kLocalResume);
  }
  const Confidence& rule = core_->policy.confidence;
  const bool held = may_go_upstream_ && rule.enabled && !forced_ && rule.first_tokens > 0;
  const Status local = go_local(held ? Phase::kLocalHeld : Phase::kLocal);
  if (local.ok() || !may_go_upstream_ || !chat::another_may_answer(local.error().code)) return local;
  because("local.failed", local.error().to_text());
  if (go_upstream()) return {};
  return local;
}

void HybridStream::end() {
  phase_ = Phase::kEnded;
  close_leg(nullptr);
  told_ = std::make_shared<const chat::Trace>(std::move(trace_));
  held_.clear();
  drop_racer();
  std::unique_ptr<chat::Stream> old;
  {
    std::lock_guard lock(mutex_);
    old = std::move(inner_);
  }
  if (old) old->cancel();
}

void HybridStream::cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (inner_) inner_->cancel();
  if (racer_) racer_->cancel();
}

// ---- The pump

Result<chat::Event> HybridStream::next(Deadline deadline) {
  for (;;) {
    if (cancelled_) {
      if (phase_ != Phase::kEnded) {
        core_->count([](Counters& counters) { ++counters.cancelled; });
        end();
      }
      out_.clear();
      return make_error(ErrorCode::kCancelled, "the answer was cancelled");
    }
    if (!out_.empty()) {
      chat::Event event = std::move(out_.front());
      out_.pop_front();
      return event;
    }
    if (phase_ == Phase::kEnded) {
      if (!error_) return make_error(ErrorCode::kCancelled, "the answer has ended");
      Error error = *std::move(error_);
      error_.reset();
      return error;
    }
    const bool hold_is_first = phase_ == Phase::kLocalHeld && hold_until_ < deadline;
    const bool was_racing = racing();
    Result<chat::Event> event =
        was_racing ? next_of_race(deadline) : inner_->next(hold_is_first ? hold_until_ : deadline);
    if (cancelled_ || !out_.empty() || phase_ == Phase::kEnded) continue;  // a race may have been decided
    if (!event.ok()) {
      const bool timeout = event.error().code == ErrorCode::kTimeout;
      if (timeout && hold_is_first) {
        judge_first();
      } else if (timeout && was_racing) {
        if (SteadyClock::now() >= deadline) return event;
      } else if (timeout && deadline != kNoDeadline) {
        return event;
      } else {
        on_failure(std::move(event).error());
      }
      continue;
    }
    leg_.answered = true;
    if (auto* said = std::get_if<chat::Started>(&event.value())) {
      started(leg_.side) = std::move(*said);
    } else if (auto* delta = std::get_if<chat::Delta>(&event.value())) {
      on_delta(std::move(*delta));
    } else if (auto* done = std::get_if<chat::Done>(&event.value())) {
      on_done(std::move(*done));
    }
    // A Switched of a backend that is itself a router stays inside: to this one it is one backend.
  }
}

void HybridStream::on_delta(chat::Delta delta) {
  switch (phase_) {
    case Phase::kLocalHeld:
      hold(std::move(delta));
      return;
    case Phase::kLocal:
      follow_local(std::move(delta));
      return;
    case Phase::kSeekWordEnd:
      seek_word_end(std::move(delta));
      return;
    case Phase::kUpstream:
      if (leg_.tokens == 0 && tokens_in(delta) > 0) {
        upstream_writes();
      }
      emit(std::move(delta));
      return;
    case Phase::kLocalResume:
      emit(std::move(delta));
      return;
    case Phase::kEnded:
      return;
  }
}

void HybridStream::on_done(chat::Done done) {
  switch (phase_) {
    case Phase::kLocalHeld:
      held_done_ = std::move(done);
      judge_first();
      return;
    case Phase::kSeekWordEnd:
      because("local.finished_first", "before the end of a word");
      finish(std::move(done));
      return;
    case Phase::kUpstream:
      // In mid-answer an end without text is an end. As the whole answer it is what a broken endpoint gives,
      // and the local model can do better than nothing.
      if (nothing_written() && leg_.tokens == 0 && done.reason == chat::FinishReason::kStop) {
        on_failure(make_error(ErrorCode::kUnavailable, "expected an answer, got an empty one"));
        return;
      }
      trace_.upstream = std::move(done.trace);  // of an upstream that is a Hedge too
      finish(std::move(done));
      return;
    case Phase::kLocal:
    case Phase::kLocalResume:
      finish(std::move(done));
      return;
    case Phase::kEnded:
      return;
  }
}

void HybridStream::on_failure(Error error) {
  switch (phase_) {
    case Phase::kUpstream:
      because("upstream.failed", error.to_text());
      upstream_failed_ = true;
      core_->count([](Counters& counters) { ++counters.upstream_failed; });
      if (plan_.upstream_only) return fail(only_upstream(error.to_text()));
      resume_local();
      return;
    case Phase::kLocalHeld:
    case Phase::kLocal:
    case Phase::kSeekWordEnd:
      if (may_go_upstream_ && chat::another_may_answer(error.code)) {
        because("local.failed", error.to_text());
        held_.clear();
        cut_at_word_end_ = phase_ == Phase::kLocalHeld;
        switch_reason_ = "local.failed";
        if (go_upstream()) return;
      }
      fail(std::move(error));
      return;
    case Phase::kLocalResume:
      fail(std::move(error));
      return;
    case Phase::kEnded:
      return;
  }
}

// ---- The local model's part

void HybridStream::hold(chat::Delta delta) {
  const Confidence& rule = core_->policy.confidence;
  const std::vector<Finding> findings = in_flight_.push(delta, true);
  // A backend that tells nothing of its tokens cannot be judged by them.
  const bool blind = delta.tokens.empty() && !delta.text.empty();
  if (hold_until_ == kNoDeadline) hold_until_ = deadline_after(Milliseconds(rule.first_hold_ms));
  held_.push_back(std::move(delta));
  for (const Finding& finding : findings)
    if (leaves_held(finding)) return;
  const bool decided = blind || in_flight_.sure() || !may_go_upstream_;
  if (decided || in_flight_.tokens() >= rule.first_tokens) judge_first();
}

// True when the upstream has taken over.
bool HybridStream::leaves_held(const Finding& finding) {
  if (!finding.unsure || !may_go_upstream_) {
    note(finding.what, finding.detail, finding.value, finding.threshold);
    return false;
  }
  because(finding.what, finding.detail, finding.value, finding.threshold);
  if (!go_upstream()) return false;
  core_->count([](Counters& counters) { ++counters.escalated_first; });
  return true;
}

void HybridStream::judge_first() {
  if (!leaves_held(in_flight_.judge_first(held_done_ ? &*held_done_ : nullptr))) release_held();
}

void HybridStream::release_held() {
  phase_ = Phase::kLocal;
  std::deque<chat::Delta> held = std::move(held_);
  held_.clear();
  for (chat::Delta& delta : held) {
    if (!emit(std::move(delta))) return;
  }
  if (held_done_) {
    chat::Done done = *std::move(held_done_);
    held_done_.reset();
    finish(std::move(done));
  }
}

void HybridStream::follow_local(chat::Delta delta) {
  bool seek = false;
  if (may_go_upstream_ && forced_) {
    const int after = *request_.routing.escalate_after;
    seek = leg_.tokens + tokens_in(delta) >= after;
    if (seek) because("forced", fmt::format("after {} tokens", after));
    if (seek) switch_reason_ = "forced";
  } else if (may_go_upstream_ && core_->policy.confidence.enabled) {
    for (const Finding& finding : in_flight_.push(delta, false)) {
      if (!finding.unsure || seek) {
        note(finding.what, finding.detail, finding.value, finding.threshold);
        continue;
      }
      because(finding.what, finding.detail, finding.value, finding.threshold);
      switch_reason_ = finding.what;
      seek = true;
    }
  }
  if (!emit(std::move(delta)) || !seek) return;
  phase_ = Phase::kSeekWordEnd;
  word_wait_ = 0;
}

void HybridStream::seek_word_end(chat::Delta delta) {
  const std::optional<size_t> cut =
      delta.text.empty() ? std::nullopt : word_end_in(tail_of(text_), delta.text);
  if (cut) {
    // A piece of several words is cut; its tokens stay with the part that may never be handed on.
    if (*cut > 0 && !emit(chat::Delta{delta.text.substr(0, *cut), {}})) return;
    delta.text.erase(0, *cut);
    switch_to_upstream(std::move(delta), true);
    return;
  }
  word_wait_ += tokens_in(delta);
  if (!emit(std::move(delta))) return;
  if (word_wait_ >= core_->policy.word_end_wait_tokens) switch_to_upstream(chat::Delta{}, false);
}

// `rest` has come but is not handed on: the upstream writes from here, or, when it cannot, the local model
// goes on.
void HybridStream::switch_to_upstream(chat::Delta rest, bool at_word_end) {
  cut_at_word_end_ = at_word_end;
  if (go_upstream()) {
    core_->count([](Counters& counters) { ++counters.escalated_mid; });
    return;
  }
  phase_ = Phase::kLocal;
  emit(std::move(rest));
}

// The upstream is gone.
void HybridStream::resume_local() {
  switch_reason_ = "upstream.failed";
  if (held_done_ && nothing_written()) {  // the local answer had ended before it was judged
    drop_racer();
    close_leg(nullptr);
    leg_ = Leg{Side::kLocal, true, 0};
    because("local.resumed", "from its first answer");
    core_->count([](Counters& counters) { ++counters.resumed_local; });
    release_held();
    return;
  }
  held_.clear();
  if (tokens_left().value_or(1) <= 0) {
    finish(chat::Done{chat::FinishReason::kLength, {}, nullptr});
    return;
  }
  if (racer_) {  // already on its way
    because("local.resumed", "from beside the upstream");
    core_->count([](Counters& counters) { ++counters.resumed_local; });
    take_racer(Phase::kLocalResume);
    return;
  }
  const Status resumed = go_local(Phase::kLocalResume);
  if (!resumed.ok()) fail(resumed.error());
}

}  // namespace hedge::route
