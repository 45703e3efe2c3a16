// One answer of the router: a state machine that pulls from the local stream or the upstream's and hands on
// one stream.
//
//   start -+-> kLocalHeld --- sure ----> kLocal --- unsure, forced ---> kSeekWordEnd ---> kUpstream --- fails
//   ---> kLocalResume
//          |        \------- unsure ---------------------------------------------------->/    \-- ends --+ |
//          +-> kLocal  (nobody judges it)                                                                v |
//          +-> kUpstream  (asked for)                            every phase ends in ----------------> kEnded
//          <--------+
//
// Invariants
// - What was handed on is never taken back. A backend that takes over is given as assistant_prefix those
// bytes and what the stop filter still holds of the text before.
// - Stop strings end the joined text, whoever wrote which part of them: a backend sees its own part alone.
// Text that may begin one is held back, and stays the part of the backend that wrote it.
// - At most one switch to the upstream and one back. A backend that fails to start leaves no mark in the
// stream.
// - Started and Switched are handed on when the first piece of their backend is there, so a backend that dies
// before its
//   first text is never announced.
// - Bytes leave the device in go_upstream() alone, which gates, budget and the privacy gate stand before:
// what it starts is a chat::Outbound, which that gate alone makes.
// - While the local model runs beside a silent upstream nothing is handed on before one side has won; the
// loser is cancelled then, and the upstream, when it is the loser, is charged its prompt at the bound: nobody
// knows what it has read.
// - The trace's segments add up to the bytes of Delta::text.
//
// Threads: next() and the destructor belong to one consumer; cancel() may come from any thread. `mutex_`
// guards what cancel() touches: `inner_` and `racer_` as pointers, and `cancelled_` where a new inner stream
// is put in.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/backend.h"
#include "chat/stop_filter.h"
#include "route/budget.h"
#include "route/core.h"
#include "route/decision.h"
#include "route/in_flight.h"

namespace hedge::route {

// An engine gives one token per piece; a backend that knows no tokens is counted by its pieces.
inline int tokens_in(const chat::Delta& delta) {
  return delta.tokens.empty() ? (delta.text.empty() ? 0 : 1) : static_cast<int>(delta.tokens.size());
}

class HybridStream final : public chat::Stream {
 public:
  // Decides by the gates and starts the backend that begins; an error when none can.
  static Result<std::unique_ptr<chat::Stream>> start(std::shared_ptr<Core> core,
                                                     const chat::Request& request);

  ~HybridStream() override;
  Result<chat::Event> next(Deadline deadline) override;
  void cancel() override;
  std::shared_ptr<const chat::Trace> trace() const override { return told_; }

 private:
  enum class Phase : uint8_t { kLocalHeld, kLocal, kSeekWordEnd, kUpstream, kLocalResume, kEnded };
  enum class Side : uint8_t { kLocal, kUpstream };

  // One backend's part of the answer while it runs.
  struct Leg {
    Side side = Side::kLocal;
    bool answered = false;  // any event came
    int tokens = 0;         // taken; an upstream's pieces count as one each
    SteadyClock::time_point began_at = SteadyClock::now();
    SteadyClock::time_point first_at = {};  // of its first text
  };

  // Text of one backend that the stop filter holds back.
  struct Withheld {
    Side side = Side::kLocal;
    std::string reason;  // for Switched, should this be the first of its part that is handed on
    size_t bytes = 0;
    std::vector<chat::TokenInfo> tokens;
  };

  HybridStream(std::shared_ptr<Core> core, const chat::Request& request);
  Status begin();
  void decide_first();
  void note_plan();
  bool prompt_promises_gain();
  Error only_upstream(std::string_view why) const;

  // Starting a backend. False (or the error): nothing has changed, the running one goes on.
  Status go_local(Phase phase);
  bool go_upstream();
  bool open_leg(Side side, Phase phase, std::unique_ptr<chat::Stream> stream);
  void close_leg(const chat::Usage* reported);
  void settle_upstream(const chat::Usage* reported);
  void observe_speed(const chat::Usage* reported);
  void charge_upstream(int64_t prompt_tokens, int64_t completion_tokens);
  chat::Request request_from_here() const;

  // What the running backend gave.
  void on_delta(chat::Delta delta);
  void on_done(chat::Done done);
  void on_failure(Error error);

  // Phases of the local model's part.
  void hold(chat::Delta delta);
  void judge_first();
  bool leaves_held(const Finding& finding);
  void release_held();
  void follow_local(chat::Delta delta);
  void seek_word_end(chat::Delta delta);
  void switch_to_upstream(chat::Delta rest, bool at_word_end);
  void resume_local();

  // The local model beside a silent upstream.
  Result<chat::Event> next_of_race(Deadline deadline);
  bool racing() const { return phase_ == Phase::kUpstream && leg_.tokens == 0; }
  void start_racer();
  void racer_wins(chat::Delta delta);
  bool take_racer(Phase phase);
  void drop_racer();
  void upstream_writes();

  // Handing on.
  void announce(Side side, const std::string& reason);
  bool emit(chat::Delta delta);  // false: a stop string ended the answer
  void release(std::string_view text);
  void note_tokens(const chat::Delta& delta);
  void hand_on(Side side, const std::string& reason, chat::Delta delta);
  void finish(chat::Done done);
  void fail(Error error);
  void end();

  const chat::BackendInfo& info(Side side) const;
  chat::Started& started(Side side) { return started_[static_cast<size_t>(side)]; }
  bool nothing_written() const { return text_.size() == request_.assistant_prefix.size(); }
  std::string name(Side side) const;
  void note(std::string_view what, std::string detail, double value = 0, double threshold = 0);
  void because(std::string_view what, std::string detail, double value = 0, double threshold = 0);
  std::optional<int> tokens_left() const;

  const std::shared_ptr<Core> core_;
  const privacy::Judged judged_;  // holds the request
  const chat::Request& request_;
  const SteadyClock::time_point began_at_ = SteadyClock::now();
  const bool forced_;  // the request says when to switch, so the confidence rule is silent

  Phase phase_ = Phase::kLocal;
  Plan plan_;  // taken before the first token
  size_t account_ = Budget::kDevice;
  size_t kind_ = 0;  // of prompts
  bool user_escalates_ = false;
  bool may_go_upstream_ = false;  // the gates allow it and it has not been tried
  std::string switch_reason_;     // of the hand-over that is under way, for Switched
  std::deque<chat::Event> out_;   // ready to be handed on
  std::optional<Error> error_;    // to be handed on after `out_`

  bool upstream_failed_ = false;

  Leg leg_;
  std::array<chat::Started, 2> started_;  // by Side, of its last leg
  std::optional<Side> announced_;
  std::string text_;                  // the request's prefix, then all that was written, withheld text too
  std::vector<int32_t> text_tokens_;  // of `text_`, while the local model has written all of it
  bool text_tokens_known_ = true;
  chat::StopFilter stops_;
  std::deque<Withheld> withheld_;  // what `stops_` holds; neighbours have different sides
  int answer_tokens_ = 0;
  int word_wait_ = 0;            // tokens that passed while the end of a word was sought
  bool cut_at_word_end_ = true;  // how the last switch left the text
  InFlight in_flight_;
  std::deque<chat::Delta> held_;
  std::optional<chat::Done> held_done_;  // the local answer ended while it was held
  Deadline hold_until_ = kNoDeadline;
  std::optional<Budget::Reservation> reservation_;
  int64_t prompt_tokens_reserved_ = 0;

  chat::Usage usage_;  // of the legs that are closed
  bool usage_has_prompt_ = false;
  chat::Trace trace_;                        // until the end
  std::shared_ptr<const chat::Trace> told_;  // from then on

  bool race_at_once_ = false;       // the strategy: both begin together
  Deadline race_at_ = kNoDeadline;  // when the local model begins beside the upstream
  SteadyClock::time_point upstream_at_{};
  std::optional<chat::Started> racer_started_;

  std::mutex mutex_;
  std::unique_ptr<chat::Stream> inner_;
  std::unique_ptr<chat::Stream> racer_;  // local, while the upstream is silent; like `inner_`
  std::atomic<bool> cancelled_ = false;
};

}  // namespace hedge::route
