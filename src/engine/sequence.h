// One request inside the engine, from its place in the queue to its last event. Owned by the engine thread
// once admitted; the Ticket is what it shares with the consumer.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/channel.h"
#include "base/clock.h"
#include "chat/backend.h"
#include "chat/event.h"
#include "chat/state_probe.h"
#include "chat/stop_filter.h"
#include "engine/sampler.h"
#include "engine/speculation.h"
#include "text/tokenizer.h"

namespace hedge::engine {

// What wakes the engine thread. Shared with the tickets, because a stream may outlive its engine.
struct Bell {
  std::mutex mutex;
  std::condition_variable news;

  // The lock orders the ring after a check that the engine thread is just making before it sleeps.
  void ring() {
    { std::lock_guard lock(mutex); }
    news.notify_all();
  }
};

// Between the engine thread (pushes) and the consumer of the stream (pops, cancels).
struct Ticket {
  // A slow consumer may lag by so many tokens before its sequence is left out of the batch.
  static constexpr size_t kEventsMax = 256;
  Channel<Result<chat::Event>> events{kEventsMax};
  std::atomic<bool> cancelled{false};
  const std::shared_ptr<Bell> bell;

  explicit Ticket(std::shared_ptr<Bell> engine_bell) : bell(std::move(engine_bell)) {}
};

class TicketStream final : public chat::Stream {
 public:
  explicit TicketStream(std::shared_ptr<Ticket> ticket) : ticket_(std::move(ticket)) {}
  ~TicketStream() override { cancel(); }

  Result<chat::Event> next(Deadline deadline) override;
  void cancel() override;

 private:
  std::shared_ptr<Ticket> ticket_;
  bool ended_ = false;  // consumer's thread only
};

// The text side of an answer: tokens in, text that may be sent out.
class AnswerText {
 public:
  // strip_bytes: so many bytes are already known to the client (a healed prefix); strip_space: one leading
  // space is dropped (a transcript's answer).
  AnswerText(const text::Tokenizer& tokenizer, std::vector<std::string> stops, size_t strip_bytes,
             bool strip_space)
      : detokenizer_(tokenizer),
        stops_(std::move(stops)),
        strip_bytes_(strip_bytes),
        strip_space_(strip_space) {}

  std::string push(text::TokenId id) { return stops_.push(strip(detokenizer_.push(id))); }
  // What is held back at the end. `cut`: the answer ends for its length, so that an unfinished character is
  // left out instead of being shown as broken.
  std::string flush(bool cut) {
    return (cut ? std::string() : stops_.push(strip(detokenizer_.flush()))) + stops_.flush();
  }
  bool stopped() const { return stops_.stopped(); }
  // The client's half word cannot be spelled by this vocabulary: all that comes now is new.
  void strip_nothing_more() { strip_bytes_ = 0; }

 private:
  std::string strip(std::string text);

  text::Detokenizer detokenizer_;
  chat::StopFilter stops_;
  size_t strip_bytes_;
  bool strip_space_;
};

struct Sequence {
  std::shared_ptr<Ticket> ticket;
  std::vector<int32_t> tokens;  // prompt, then what was generated; reserved for the whole context
  size_t prompt_tokens = 0;
  size_t generated_max = 0;
  size_t generated_room = 0;    // what the context leaves; generated_max is at most this
  size_t tokens_max = 0;        // so many tokens it will have at most
  std::string must;             // bytes that the next tokens have to spell (healing)
  std::vector<int32_t> banned;  // end-of-generation tokens, with ignore_eos
  Sampler sampler;
  InfoWanted wanted;
  AnswerText text;
  SteadyClock::time_point arrived = SteadyClock::now();
  int overtaken = 0;  // requests behind it that were admitted while it waited

  // Set on admission.
  int slot = -1;
  size_t computed = 0;  // tokens whose keys and values are in the slot's KV cache
  size_t cached_tokens = 0;
  double prefill_ms = 0;
  SteadyClock::time_point decode_start{};

  size_t healed = 0;  // tokens that only spelled again what stood

  std::unique_ptr<Drafter> drafter{};  // null without speculation
  size_t draft_tokens = 0, draft_tokens_accepted = 0;

  int states_every = 0;                        // chat::Request::states_every; 0 where the engine keeps none
  std::unique_ptr<chat::AnswerProbe> probe{};  // null where nobody wants to know
  std::vector<float> prompt_states{};          // [2, kept blocks, dim]; empty where nobody reads states
  std::vector<double> prompt_sums{};           // [kept blocks, dim] over the prompt's end
  std::vector<double> answer_sums{};           // [kept blocks, dim] over states_tokens tokens
  std::vector<float> answer_states{};          // [kept blocks, dim] their mean, for the probe
  int states_tokens = 0;

  bool keeps_states() const { return !prompt_states.empty(); }
  // Where the end of the prompt begins whose states are read.
  size_t prompt_end_begin() const {
    return prompt_tokens - std::min(prompt_tokens, chat::States::kPromptEnd);
  }
  // So many of the prompt's tokens may come from elsewhere: at least one has to run, for its logits, and all
  // whose states are read.
  size_t reusable() const { return keeps_states() ? prompt_end_begin() : prompt_tokens - 1; }
  size_t generated() const { return tokens.size() - prompt_tokens; }
  size_t answered() const { return generated() - healed; }
  size_t left() const {  // tokens that may still be generated
    return std::min(generated_max - std::min(generated_max, answered()), generated_room - generated());
  }
  bool spent() const { return left() == 0; }
  bool prefilling() const { return computed + 1 < tokens.size() || generated() == 0; }
};

}  // namespace hedge::engine
