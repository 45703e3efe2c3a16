// The engine thread's loop: admit waiting requests to slots, build one batch of decodes and prompt pieces,
// run it, choose and send tokens. It sleeps on a condition variable when nothing is to be done: an idle
// engine does not wake up.
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <filesystem>
#include <mutex>
#include <random>
#include <thread>

#include "base/utf8.h"
#include "engine/sequence.h"
#include "engine/slots.h"
#include "engine/speculation.h"
#include "model/model.h"
#include "model/prefault.h"
#include "os/cpu.h"

namespace hedge::engine {
namespace {

constexpr int kContextDefault = 4096;
constexpr int kSlotsMax = 64;
constexpr int kKvMemoryMbMax = 1 << 24;
// A prefix that a running sequence computes is worth waiting for from this many tokens on.
constexpr size_t kSharedPrefixMin = 32;
// So many waiting requests are looked at for one that can start, and so often is one overtaken that cannot.
constexpr size_t kLookAhead = 8;
constexpr int kOvertakenMax = 8;
// Healing takes back at most this many tokens of a broken word.
constexpr size_t kHealTokensMax = 8;
// No sane model comes near it; what lies beyond, NaN included, comes from broken weights.
constexpr float kLogitMax = 1e30f;
// Tokens that a sequence's index takes in at once: a step waits for less than half a millisecond.
constexpr size_t kIndexedMax = 2048;
// How long the engine waits before it looks again at sequences whose consumers lag.
constexpr Milliseconds kLagPoll{5};

size_t common_prefix(const std::vector<int32_t>& a, const std::vector<int32_t>& b, size_t b_limit) {
  const size_t limit = std::min(a.size(), b_limit);
  size_t n = 0;
  while (n < limit && a[n] == b[n]) ++n;
  return n;
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<model::Model> model, std::unique_ptr<model::Prefault> prefault,
             std::unique_ptr<text::Tokenizer> tokenizer, std::unique_ptr<text::PromptFormat> format,
             std::shared_ptr<const chat::StateProbe> probe, const Options& options, int context,
             model::KvType kv_type, Speculate speculate)
      : model_(std::move(model)),
        prefault_(std::move(prefault)),
        tokenizer_(std::move(tokenizer)),
        format_(std::move(format)),
        probe_(std::move(probe)),
        options_(options),
        context_(static_cast<size_t>(context)),
        kv_type_(kv_type),
        speculate_(speculate),
        speculation_(speculate),
        scratch_(static_cast<size_t>(model_->config().vocab)) {
    info_.name = "local";
    info_.model =
        options.alias.empty() ? std::filesystem::path(model_->file().path()).stem().string() : options.alias;
    info_.context_tokens = context;
    for (text::TokenId id = 0; id < tokenizer_->vocab_size(); ++id) {
      if (tokenizer_->is_end_of_generation(id)) end_tokens_.push_back(id);
    }
  }

  Status begin() {
    const model::KvLayout layout(model_->config(), kv_type_);
    const size_t chunk = static_cast<size_t>(options_.prefill_chunk);
    size_t kv_bytes = static_cast<size_t>(options_.kv_memory_mb) << 20;
    if (kv_bytes == 0) {
      kv_bytes = automatic_kv_bytes(layout.bytes(context_, chunk) * static_cast<size_t>(options_.slots),
                                    model_->file().bytes().size(), os::memory_sizes());
    }
    Slots::Setup setup{kv_bytes, options_.slots, context_, chunk, nullptr, {}, &model_->team()};
    open_disk(layout, setup);
    fingerprint_ = setup.fingerprint;
    HEDGE_TRY_SET(slots_, Slots::create(layout, std::move(setup)));
    if (slots_->tokens_max() < context_ && options_.warn) {
      options_.warn("the KV memory of " + std::to_string(kv_bytes >> 20) + " MiB holds " +
                    std::to_string(slots_->tokens_max()) + " tokens of the context's " +
                    std::to_string(context_) + "; longer requests are refused");
    }
    info_.context_tokens = static_cast<int>(std::min(context_, slots_->tokens_max()));
    for (int i = 0; i < options_.slots && speculate_ != Speculate::kOff; ++i) {
      drafters_.push_back(std::make_unique<Drafter>(context_));
    }
    const int outputs = std::max(options_.slots, static_cast<int>(model::kDecodeRowsMax));
    const int rows = options_.prefill_chunk + outputs;
    forward_ = model_->make_forward(rows, outputs, static_cast<int>(context_));
    if (!options_.state_blocks.empty()) forward_->tap(options_.state_blocks);
    rows_.reserve(static_cast<size_t>(rows));
    outputs_.reserve(static_cast<size_t>(rows));
    prompt_ends_.reserve(static_cast<size_t>(rows));
    plan_.reserve(static_cast<size_t>(options_.slots));
    drafts_.reserve(static_cast<size_t>(options_.slots));
    running_.reserve(static_cast<size_t>(options_.slots));
    views_.reserve(static_cast<size_t>(options_.slots));
    thread_ = std::thread([this] { loop(); });
    return {};
  }

  ~EngineImpl() override {
    {
      std::lock_guard lock(bell_->mutex);
      stopping_ = true;
    }
    bell_->news.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  const chat::BackendInfo& info() const override { return info_; }
  const text::Tokenizer& tokenizer() const override { return *tokenizer_; }
  const text::PromptFormat& prompt_format() const override { return *format_; }
  const gguf::File& file() const override { return model_->file(); }
  const model::Config& config() const override { return model_->config(); }

  chat::BackendState state() const override {
    chat::BackendState state;
    std::lock_guard lock(bell_->mutex);
    state.active = active_;
    state.queued = static_cast<int>(waiting_.size());
    return state;
  }

  std::optional<KvName> kv_name(std::span<const int32_t> tokens) const override {
    if (fingerprint_ == PrefixKey{}) return std::nullopt;
    PrefixKey key = fingerprint_;
    size_t count = 0;
    for (; count + kKvBlock <= tokens.size(); count += kKvBlock)
      key = key_of(key, tokens.subspan(count, kKvBlock));
    return KvName{hex(fingerprint_), hex(key), count};
  }

  Counters counters() const override {
    std::lock_guard lock(bell_->mutex);
    Counters counters = counters_;
    counters.active = active_;
    counters.queued = static_cast<int>(waiting_.size());
    const KvStats kv = slots_->stats();
    counters.kv_bytes_max = kv.bytes_max;
    counters.kv_bytes_used = kv.bytes_used;
    counters.kv_pages_cached = kv.pages_cached;
    counters.kv_pages_hit = kv.pages_hit;
    counters.kv_pages_evicted = kv.pages_evicted;
    counters.kv_disk_bytes = kv.disk.bytes;
    counters.kv_disk_pages_read = kv.disk.pages_read;
    counters.kv_disk_pages_written = kv.disk.pages_written;
    counters.kv_disk_files_rejected = kv.disk.files_rejected;
    return counters;
  }

  std::vector<Running> running() const override {
    std::lock_guard lock(bell_->mutex);
    const auto now = SteadyClock::now();
    std::vector<Running> out;
    for (const View& view : views_) {
      Running& running = out.emplace_back(view.running);
      running.age_seconds = seconds_between(view.arrived, now);
      const double decoding = seconds_between(view.decode_start, now);
      if (running.answer_tokens > 1 && decoding > 0)
        running.tokens_per_second = static_cast<double>(running.answer_tokens - 1) / decoding;
    }
    return out;
  }

  int slots() const override { return options_.slots; }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    HEDGE_TRY_SET(std::unique_ptr<Sequence> sequence, make_sequence(request));
    const std::shared_ptr<Ticket> ticket = sequence->ticket;
    {
      std::lock_guard lock(bell_->mutex);
      if (stopping_) return make_error(ErrorCode::kUnavailable, "the engine is stopping");
      // Those that a free slot takes at once do not wait.
      const int places = options_.queue_max + std::max(0, options_.slots - active_);
      if (static_cast<int>(waiting_.size()) >= places) {
        ++counters_.requests_rejected;
        Error error =
            make_error(ErrorCode::kExhausted,
                       "the queue is full: " + std::to_string(options_.queue_max) + " requests wait already");
        error.retry_after_ms = 1000;
        return error;
      }
      ++counters_.requests;
      waiting_.push_back(std::move(sequence));
    }
    bell_->news.notify_all();
    return std::unique_ptr<chat::Stream>(std::make_unique<TicketStream>(ticket));
  }

 private:
  // A folder that cannot be used costs the tier, not the start.
  void open_disk(const model::KvLayout& layout, Slots::Setup& setup) const {
    if (options_.kv_disk_dir.empty() || options_.kv_disk_mb == 0) return;
    const auto open = [&]() -> Status {
      HEDGE_TRY_SET(setup.fingerprint, kv_fingerprint(model_->file(), layout, model_->table().name));
      KvDiskSetup disk;
      disk.folder = options_.kv_disk_dir;
      disk.bytes_max = static_cast<uint64_t>(options_.kv_disk_mb) << 20;
      disk.fingerprint = setup.fingerprint;
      for (const model::KvPart part : model::kKvPartList)
        disk.part_bytes[static_cast<size_t>(part)] = layout.bytes_of(part);
      disk.warn = options_.warn;
      HEDGE_TRY_SET(setup.disk, KvDisk::open(std::move(disk)));
      return {};
    };
    const Status opened = open();
    if (!opened.ok() && options_.warn) {
      options_.warn("the KV cache is not kept on disk: " + opened.error().detail);
    }
  }

  // ---- on the caller's thread ----

  Result<std::vector<int32_t>> prompt_tokens(const chat::Request& request) const {
    if (!request.prompt_tokens.empty()) {
      for (const int32_t id : request.prompt_tokens) {
        if (!tokenizer_->valid(id)) {
          return make_error(ErrorCode::kInvalidArgument,
                            "token ids: expected 0 to " + std::to_string(tokenizer_->vocab_size() - 1) +
                                ", got " + std::to_string(id),
                            "prompt");
        }
      }
      return request.prompt_tokens;
    }
    if (request.raw) return tokenizer_->encode(request.prompt + request.assistant_prefix, {true, true});
    return format_->encode(*tokenizer_, request.messages, request.assistant_prefix);
  }

  // Takes the tokens of a word that was cut off the end of the prompt; returns their bytes, whole characters.
  std::string take_broken_word(std::vector<int32_t>& tokens, std::string_view prefix) const {
    std::vector<int32_t> taken;  // last one first
    std::string word;
    while (taken.size() < kHealTokensMax && tokens.size() > 1) {
      const std::string_view bytes = tokenizer_->token_bytes(tokens.back());
      if (bytes.empty() || word.size() + bytes.size() > prefix.size()) break;
      word.insert(0, bytes);
      taken.push_back(tokens.back());
      tokens.pop_back();
      if (word.front() == ' ' || word.front() == '\n' || word.front() == '\t') break;
    }
    // The answer's text is cut after `word`; inside a character there is no such place.
    const auto splits_character = [&] { return !word.empty() && utf8_continues(word.front()); };
    while (splits_character()) {
      word.erase(0, tokenizer_->token_bytes(taken.back()).size());
      tokens.push_back(taken.back());
      taken.pop_back();
    }
    return word;
  }

  // `field`: what would have to be shorter.
  Error too_long_for_memory(size_t prompt_tokens, size_t answer_tokens, const char* field) const {
    const auto mib = [](size_t bytes) { return std::to_string((bytes >> 20) + 1) + " MiB"; };
    return make_error(ErrorCode::kContextExceeded,
                      "the prompt has " + std::to_string(prompt_tokens) + " tokens and the answer up to " +
                          std::to_string(answer_tokens) + ", which take " +
                          mib(slots_->bytes_of(prompt_tokens + answer_tokens)) + " of KV memory; there are " +
                          mib(slots_->stats().bytes_max - 1) + " (kv_memory_mb, --kv-memory), which hold " +
                          std::to_string(slots_->tokens_max()) + " tokens",
                      field);
  }

  Result<std::unique_ptr<Sequence>> make_sequence(const chat::Request& request) {
    HEDGE_TRY_SET(std::vector<int32_t> tokens, prompt_tokens(request));
    std::string must;
    if (request.heal_prefix && !request.assistant_prefix.empty())
      must = take_broken_word(tokens, request.assistant_prefix);
    if (tokens.empty()) return make_error(ErrorCode::kInvalidArgument, "the prompt is empty", "prompt");
    if (tokens.size() >= context_) {
      return make_error(ErrorCode::kContextExceeded,
                        "the prompt has " + std::to_string(tokens.size()) +
                            " tokens, but the context holds " + std::to_string(context_) +
                            " tokens, the answer included",
                        request.raw ? "prompt" : "messages");
    }
    std::vector<std::string> stops = request.stop;
    const bool transcript = !request.raw && !format_->has_template();
    // A transcript's next turn is its end of turn: ignore_eos writes past it as past an end token.
    if (!request.raw && !request.ignore_eos)
      stops.insert(stops.end(), format_->stops().begin(), format_->stops().end());
    const uint64_t seed = request.sampling.seed ? *request.sampling.seed : std::random_device{}();
    InfoWanted wanted;
    wanted.logprob = request.top_logprobs >= 0;
    wanted.top = std::max(0, request.top_logprobs);
    wanted.confidence = request.want_confidence;
    const bool probed = request.want_confidence && probe_ != nullptr;
    if (probed) wanted.logprob = true;

    auto ticket = std::make_shared<Ticket>(bell_);
    const size_t prompt_count = tokens.size();
    const size_t room = context_ - prompt_count;
    size_t generated_max = room;
    if (request.max_tokens >= 0)
      generated_max = std::min(generated_max, static_cast<size_t>(request.max_tokens));
    // An answer without a limit of its own takes what there is; one that asks for more than there ever is
    // waits in vain.
    const size_t memory_tokens = slots_->tokens_max();
    const size_t least = prompt_count + (request.max_tokens >= 0 ? generated_max : 1);
    if (least > memory_tokens) {
      const char* const prompt_field = request.raw ? "prompt" : "messages";
      const bool prompt_alone = prompt_count + 1 > memory_tokens;
      return too_long_for_memory(prompt_count, least - prompt_count,
                                 prompt_alone ? prompt_field : "max_tokens");
    }
    const size_t generated_room = std::min(room, memory_tokens - prompt_count);
    generated_max = std::min(generated_max, generated_room);
    const size_t tokens_max = prompt_count + std::min(generated_room, generated_max + must.size());
    auto sequence = std::make_unique<Sequence>(Sequence{
        std::move(ticket), std::move(tokens), prompt_count, generated_max, generated_room, tokens_max, must,
        request.ignore_eos ? end_tokens_ : std::vector<int32_t>{}, Sampler(request.sampling, seed), wanted,
        AnswerText(*tokenizer_, std::move(stops), must.size(),
                   transcript && request.assistant_prefix.empty())});
    sequence->tokens.reserve(tokens_max);
    if ((request.states_every > 0 || probed) && !options_.state_blocks.empty()) {
      const size_t states = options_.state_blocks.size() * static_cast<size_t>(model_->config().dim);
      sequence->states_every = request.states_every;
      sequence->prompt_states.resize(2 * states);
      sequence->prompt_sums.resize(states);
      sequence->answer_sums.resize(states);
      if (probed) sequence->probe = probe_->begin();
      if (probed) sequence->answer_states.resize(states);
    }
    return sequence;
  }

  // ---- on the engine thread ----

  // A sequence's part of the batch.
  struct Planned {
    Sequence* sequence;
    size_t first_row, rows;
    size_t outputs;      // of the last rows
    size_t prompt_ends;  // rows before those whose states are read
  };

  // What running() tells of a sequence.
  struct View {
    Running running;
    SteadyClock::time_point arrived, decode_start;
  };

  // REQUIRES: the bell's lock is held.
  void show_running_locked() {
    views_.clear();
    for (const std::unique_ptr<Sequence>& sequence : running_) {
      const Sequence& s = *sequence;
      views_.push_back(
          {{s.prompt_tokens, s.cached_tokens, std::min(s.computed, s.prompt_tokens), s.answered(), 0, 0},
           s.arrived,
           s.decode_start});
    }
  }

  void loop() {
    while (true) {
      {
        std::unique_lock lock(bell_->mutex);
        show_running_locked();  // what the last step left
        bell_->news.wait(lock, [this] { return stopping_ || !waiting_.empty() || !running_.empty(); });
        if (stopping_) break;
      }
      drop_cancelled();
      admit();
      if (!step() && !running_.empty()) {
        std::unique_lock lock(bell_->mutex);
        bell_->news.wait_for(lock, kLagPoll);
      }
    }
    for (std::unique_ptr<Sequence>& sequence : running_) {
      release(*sequence);
      fail(*sequence);
    }
    std::lock_guard lock(bell_->mutex);
    for (std::unique_ptr<Sequence>& sequence : waiting_) fail(*sequence);
    waiting_.clear();
  }

  static void fail(Sequence& sequence) {
    sequence.ticket->events.push_final(make_error(ErrorCode::kUnavailable, "the engine is stopping"));
  }

  void drop_cancelled() {
    for (size_t i = 0; i < running_.size();) {
      if (running_[i]->ticket->cancelled.load()) {
        release(*running_[i]);
        running_.erase(running_.begin() + static_cast<long>(i));
        count_cancelled(1);
      } else {
        ++i;
      }
    }
    std::lock_guard lock(bell_->mutex);
    const size_t before = waiting_.size();
    std::erase_if(waiting_, [](const std::unique_ptr<Sequence>& s) { return s->ticket->cancelled.load(); });
    counters_.requests_cancelled += before - waiting_.size();
    active_ = static_cast<int>(running_.size());
  }

  void count_cancelled(uint64_t n) {
    std::lock_guard lock(bell_->mutex);
    counters_.requests_cancelled += n;
  }

  void release(Sequence& sequence) {
    slots_->release(sequence);
    if (sequence.drafter) drafters_.push_back(std::move(sequence.drafter));
  }

  void admit() {
    while (running_.size() < static_cast<size_t>(options_.slots)) {
      std::unique_ptr<Sequence> sequence = take_next();
      if (sequence == nullptr) return;
      if (!drafters_.empty()) {
        sequence->drafter = std::move(drafters_.back());
        drafters_.pop_back();
        sequence->drafter->begin(sequence->prompt_tokens);
      }
      send(*sequence, chat::Started{info_.name, info_.model, static_cast<int>(sequence->prompt_tokens),
                                    static_cast<int>(sequence->cached_tokens)});
      running_.push_back(std::move(sequence));
    }
  }

  // The first waiting request that can start. One that cannot, because it needs more KV memory than is free
  // or waits for a prefix, is overtaken by those behind it, but only kOvertakenMax times: then all wait for
  // it, so that small requests without end do not starve a large one. Null: none can start.
  std::unique_ptr<Sequence> take_next() {
    for (size_t place = 0; place < kLookAhead; ++place) {
      Sequence* next;
      bool waits;
      {
        std::lock_guard lock(bell_->mutex);
        if (place >= waiting_.size()) return nullptr;
        next = waiting_[place].get();  // Only this thread takes them out.
        waits = waits_for_prefix(*next);
      }
      if (!waits && slots_->admit(*next)) {
        std::lock_guard lock(bell_->mutex);
        for (size_t i = 0; i < place; ++i) ++waiting_[i]->overtaken;
        std::unique_ptr<Sequence> sequence = std::move(waiting_[place]);
        waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(place));
        active_ = static_cast<int>(running_.size()) + 1;
        counters_.prompt_tokens += sequence->prompt_tokens;
        counters_.cached_tokens += sequence->cached_tokens;
        return sequence;
      }
      HEDGE_CHECK(!running_.empty());  // make_sequence() lets none in that would not fit alone.
      if (next->overtaken >= kOvertakenMax) return nullptr;
    }
    return nullptr;
  }

  // A sequence that shares a long prompt with one whose prompt is being computed right now waits for it,
  // instead of computing the same (several choices of one request, clients with one system prompt).
  bool waits_for_prefix(const Sequence& next) const {
    for (const std::unique_ptr<Sequence>& other : running_) {
      if (!other->prefilling()) continue;
      const size_t shared = common_prefix(other->tokens, next.tokens, next.prompt_tokens);
      if (shared >= kSharedPrefixMin && shared > other->computed + kSharedPrefixMin) return true;
    }
    return false;
  }

  // Every decode whose consumer keeps up, with drafts behind it where they pay, then prompt pieces. Two
  // batches, so that an answer does not depend on what else runs (model::Mode). False when there was nothing
  // to run.
  bool step() {
    begin_batch();
    for (std::unique_ptr<Sequence>& sequence : running_) {
      if (!sequence->prefilling() && !sequence->ticket->events.full()) plan_decode(*sequence);
    }
    speculation_.plan(drafts_);
    for (size_t i = 0; i < plan_.size(); ++i) add_decode_rows(plan_[i], drafts_[i].rows);
    const bool decoded = run_batch(model::Mode::kDecode);
    begin_batch();
    size_t room = prompt_room(decoded);
    for (std::unique_ptr<Sequence>& sequence : running_) {
      if (!sequence->prefilling() || room == 0) continue;
      const size_t count = std::min(room, sequence->tokens.size() - sequence->computed);
      add_prompt_rows(*sequence, count);
      room -= count;
    }
    return run_batch(model::Mode::kPrompt) || decoded;
  }

  // Prompt rows for this step. Each answer that runs waits for them between two of its tokens.
  size_t prompt_room(bool beside_decodes) const {
    const size_t most = static_cast<size_t>(options_.prefill_chunk);
    if (!beside_decodes || row_seconds_ <= 0) return most;
    // Few rows cost about as much as some more: a panel of weights is unpacked for however many.
    constexpr size_t kRowsMin = 16;
    const double rows = options_.prefill_budget_ms / 1000.0 / row_seconds_;
    return std::min(most, std::max(kRowsMin, static_cast<size_t>(rows)));
  }

  void begin_batch() {
    rows_.clear();
    outputs_.clear();
    prompt_ends_.clear();
    plan_.clear();
    drafts_.clear();
  }

  bool run_batch(model::Mode mode) {
    if (rows_.empty()) return false;
    const auto start = SteadyClock::now();
    prefault_->make_room();
    const int with_logits = static_cast<int>(outputs_.size());
    outputs_.insert(outputs_.end(), prompt_ends_.begin(), prompt_ends_.end());
    forward_->run(rows_, outputs_, mode);
    const size_t vocab = static_cast<size_t>(model_->config().vocab);
    float* logits = nullptr;
    if (with_logits > 0) logits = const_cast<float*>(forward_->logits(0, with_logits));
    const double seconds = seconds_since(start);
    if (mode == model::Mode::kPrompt) {
      const double now = seconds / static_cast<double>(rows_.size());
      row_seconds_ = row_seconds_ <= 0 ? now : 0.75 * row_seconds_ + 0.25 * now;
    }
    count_batch(mode, seconds);
    const auto chosen_from = SteadyClock::now();
    size_t generated = 0;
    int output = 0;                // the next sequence's first
    int prompt_end = with_logits;  // the same of those without logits
    for (const Planned& planned : plan_) {
      Sequence& sequence = *planned.sequence;
      const int first_output = output;
      output += static_cast<int>(planned.outputs);
      if (mode == model::Mode::kPrompt) {
        sequence.prefill_ms += seconds * 1000;
        take_over(sequence, planned.rows, mode);
        for (size_t i = 0; i < planned.prompt_ends; ++i)
          add(forward_->tapped(prompt_end++), sequence.prompt_sums);
        if (planned.outputs == 0) continue;
        sequence.decode_start = SteadyClock::now();
        if (sequence.keeps_states()) keep_prompt_states(sequence, forward_->tapped(first_output));
        generate(sequence, {logits, vocab});
        logits += vocab;
      } else {
        generated += verify(planned, first_output, {logits, planned.outputs * vocab});
        logits += planned.outputs * vocab;
      }
    }
    if (mode == model::Mode::kDecode)
      speculation_.observe(plan_.size(), rows_.size(), generated, seconds, seconds_since(chosen_from));
    std::erase_if(running_, [](const std::unique_ptr<Sequence>& s) { return !s->ticket; });
    for (const std::unique_ptr<Sequence>& sequence : running_) read_index(*sequence);
    return true;
  }

  void count_batch(model::Mode mode, double seconds) {
    std::lock_guard lock(bell_->mutex);
    ++counters_.steps;
    if (mode == model::Mode::kPrompt) {
      counters_.prefill_seconds += seconds;
      return;
    }
    counters_.decode_seconds += seconds;
    counters_.draft_tokens += rows_.size() - plan_.size();
  }

  // The next tokens' keys and values are in the slot.
  void take_over(Sequence& sequence, size_t count, model::Mode mode) {
    sequence.computed += count;
    slots_->advance(sequence, mode == model::Mode::kDecode);
  }

  void read_index(Sequence& sequence) {
    if (!sequence.drafter) return;
    // A prompt together with its keys and values: what is known later is not needed sooner.
    const size_t known = sequence.prefilling() ? sequence.computed : sequence.tokens.size();
    sequence.drafter->read(std::span(sequence.tokens).first(known), kIndexedMax);
  }

  // Generates from the last token's row, and from each draft's as long as the draft is what was chosen. The
  // slot never learns of the other drafts: their places are written anew.
  size_t verify(const Planned& planned, int first_output, std::span<float> logits) {
    Sequence& sequence = *planned.sequence;
    const size_t vocab = logits.size() / planned.outputs;
    size_t generated = 0;
    for (bool right = true; right && generated < planned.rows;) {
      take_over(sequence, 1, model::Mode::kDecode);
      // What healing spells again is of the prompt.
      const bool of_answer = sequence.computed > sequence.prompt_tokens + sequence.healed;
      if (sequence.keeps_states() && of_answer)
        add_states(sequence, first_output + static_cast<int>(generated));
      generate(sequence, logits.subspan(generated * vocab, vocab));
      ++generated;
      right = sequence.ticket && !sequence.ticket->cancelled.load() && generated < planned.rows &&
              rows_[planned.first_row + generated].token == sequence.tokens.back();
      if (right) {
        ++sequence.draft_tokens_accepted;
        std::lock_guard lock(bell_->mutex);
        ++counters_.draft_tokens_accepted;
      }
    }
    return generated;
  }

  static void add(std::span<const float> states, std::span<double> sums) {
    for (size_t i = 0; i < states.size(); ++i) sums[i] += static_cast<double>(states[i]);
  }

  static void mean_of(std::span<const double> sums, size_t count, std::span<float> out) {
    const double scale = 1.0 / static_cast<double>(std::max<size_t>(1, count));
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(sums[i] * scale);
  }

  // The prompt's last token went through the model.
  static void keep_prompt_states(Sequence& sequence, std::span<const float> last) {
    std::copy(last.begin(), last.end(), sequence.prompt_states.begin());
    add(last, sequence.prompt_sums);
    mean_of(sequence.prompt_sums, sequence.prompt_tokens - sequence.prompt_end_begin(),
            std::span(sequence.prompt_states).subspan(last.size()));
  }

  // One more token of the answer went through the model: row `output` of the last run.
  void add_states(Sequence& sequence, int output) const {
    add(forward_->tapped(output), sequence.answer_sums);
    ++sequence.states_tokens;
  }

  // Over the answer's tokens; out [kept blocks, dim].
  static void mean_states(const Sequence& sequence, std::span<float> out) {
    mean_of(sequence.answer_sums, static_cast<size_t>(sequence.states_tokens), out);
  }

  static std::shared_ptr<const chat::States> states_of(const Sequence& sequence) {
    if (sequence.states_every == 0) return nullptr;
    auto states = std::make_shared<chat::States>();
    states->prompt = sequence.prompt_states;
    states->answer.resize(sequence.answer_sums.size());
    states->tokens = sequence.states_tokens;
    mean_states(sequence, states->answer);
    return states;
  }

  static float wrong(Sequence& sequence) {
    mean_states(sequence, sequence.answer_states);
    return sequence.probe->wrong({sequence.prompt_states, sequence.answer_states, sequence.states_tokens});
  }

  void plan_decode(Sequence& sequence) {
    plan_.push_back({&sequence, 0, 0, 0, 0});
    size_t rows_max = 0;
    if (sequence.drafter && sequence.must.empty() && sequence.drafter->has_draft(sequence.tokens))
      rows_max = std::min(sequence.left() - 1, Ticket::kEventsMax - 1 - sequence.ticket->events.size());
    drafts_.push_back({sequence.drafter.get(), rows_max});
  }

  void add_decode_rows(Planned& planned, size_t drafts) {
    Sequence& sequence = *planned.sequence;
    slots_->extend(sequence, 1 + drafts);
    model::KvCache* const cache = slots_->cache(sequence);
    planned.first_row = rows_.size();
    planned.rows = planned.outputs = 1 + drafts;
    for (size_t i = 0; i <= drafts; ++i) {
      const int32_t token =
          i == 0 ? sequence.tokens[sequence.computed] : sequence.drafter->draft(sequence.tokens, i - 1);
      outputs_.push_back(static_cast<int>(rows_.size()));
      rows_.push_back({token, static_cast<int>(sequence.computed + i), cache});
    }
    sequence.draft_tokens += drafts;
  }

  void add_prompt_rows(Sequence& sequence, size_t count) {
    slots_->extend(sequence, count);
    model::KvCache* const cache = slots_->cache(sequence);
    const size_t first_row = rows_.size();
    const size_t ends = prompt_ends_.size();
    for (size_t i = 0; i < count; ++i) {
      const size_t position = sequence.computed + i;
      const bool last = position + 1 == sequence.tokens.size();
      if (!last && sequence.keeps_states() && position >= sequence.prompt_end_begin())
        prompt_ends_.push_back(static_cast<int>(rows_.size()));
      rows_.push_back({sequence.tokens[position], static_cast<int>(position), cache});
    }
    const bool has_output = sequence.computed + count == sequence.tokens.size();
    if (has_output) outputs_.push_back(static_cast<int>(rows_.size()) - 1);
    plan_.push_back(
        {&sequence, first_row, count, has_output ? size_t{1} : size_t{0}, prompt_ends_.size() - ends});
  }

  void generate(Sequence& sequence, std::span<float> logits) {
    if (sequence.generated_max == 0) {
      finish(sequence, chat::FinishReason::kLength);
      return;
    }
    const float top = model_->table().max_of(logits.data(), logits.size());
    if (!(top > -kLogitMax && top < kLogitMax)) {
      sequence.ticket->events.push_final(
          make_error(ErrorCode::kCorrupt, "the model gave no finite logits: its weights are broken"));
      leave(sequence);
      return;
    }
    chat::TokenInfo info;
    int32_t id = -1;
    bool only_heals = false;
    if (!sequence.must.empty()) {
      id = choose_constrained(logits, *tokenizer_, sequence.must);
      const size_t spelled = id < 0 ? 0 : tokenizer_->token_bytes(id).size();
      only_heals = id >= 0 && spelled <= sequence.must.size();
      if (id >= 0) describe_choice(logits, id, sequence.wanted, model_->table(), scratch_, info);
      if (id < 0) sequence.text.strip_nothing_more();
      sequence.must.erase(0, id < 0 ? sequence.must.size() : spelled);
    }
    if (id < 0) {
      id = sequence.sampler.choose(logits, sequence.tokens, sequence.banned, sequence.wanted, model_->table(),
                                   scratch_, info);
    }
    sequence.tokens.push_back(id);
    if (only_heals) {  // Nothing new: no event, and no token of the answer.
      (void)sequence.text.push(id);
      ++sequence.healed;
      if (sequence.spent()) finish(sequence, chat::FinishReason::kLength);
      return;
    }
    {
      std::lock_guard lock(bell_->mutex);
      ++counters_.completion_tokens;
    }
    if (tokenizer_->is_end_of_generation(id)) {
      finish(sequence, chat::FinishReason::kStop);
      return;
    }
    chat::Delta delta;
    delta.text = sequence.text.push(id);
    if (sequence.probe) {
      sequence.probe->token(info);
      if (sequence.probe->wants()) delta.p_wrong = wrong(sequence);
    }
    name_tokens(info);
    delta.tokens.push_back(std::move(info));
    if (sequence.states_every > 0 &&
        (sequence.answered() == 1 || sequence.answered() % static_cast<size_t>(sequence.states_every) == 0))
      delta.states = states_of(sequence);
    send(sequence, std::move(delta));
    if (sequence.text.stopped()) {
      finish(sequence, chat::FinishReason::kStop);
    } else if (sequence.spent()) {
      finish(sequence, chat::FinishReason::kLength);
    }
  }

  void name_tokens(chat::TokenInfo& info) const {
    info.chosen.bytes = tokenizer_->token_bytes(info.chosen.id);
    for (chat::TokenLogprob& entry : info.top) entry.bytes = tokenizer_->token_bytes(entry.id, true);
  }

  void send(Sequence& sequence, chat::Event event) {
    // The channel has room: a full one keeps its sequence out of the batch. push_final covers Started and the
    // last text.
    sequence.ticket->events.push_final(std::move(event));
  }

  void finish(Sequence& sequence, chat::FinishReason reason) {
    chat::Delta rest;
    rest.text = sequence.text.flush(reason == chat::FinishReason::kLength);
    if (!rest.text.empty()) send(sequence, std::move(rest));
    chat::Done done;
    done.reason = reason;
    done.usage.prompt_tokens = static_cast<int>(sequence.prompt_tokens);
    done.usage.cached_tokens = static_cast<int>(sequence.cached_tokens);
    // The end token is no part of the answer, and no log-probability is sent for it.
    const bool has_end = sequence.generated() > 0 && tokenizer_->is_end_of_generation(sequence.tokens.back());
    done.usage.completion_tokens = static_cast<int>(sequence.answered()) - (has_end ? 1 : 0);
    done.usage.draft_tokens = static_cast<int>(sequence.draft_tokens);
    done.usage.draft_tokens_accepted = static_cast<int>(sequence.draft_tokens_accepted);
    done.usage.prefill_ms = sequence.prefill_ms;
    done.usage.decode_ms = seconds_since(sequence.decode_start) * 1000;
    done.states = states_of(sequence);
    if (sequence.probe && sequence.generated() > 0) done.p_wrong = wrong(sequence);
    const std::shared_ptr<Ticket> ticket = sequence.ticket;
    // The slot is free before the client learns of the end: its next turn finds it.
    leave(sequence);
    ticket->events.push_final(chat::Event(std::move(done)));
  }

  // Gives the slot back and marks the sequence for removal at the end of the step.
  void leave(Sequence& sequence) {
    release(sequence);
    {
      std::lock_guard lock(bell_->mutex);
      --active_;
    }
    sequence.ticket.reset();
  }

  const std::unique_ptr<model::Model> model_;
  const std::unique_ptr<model::Prefault> prefault_;
  const std::unique_ptr<text::Tokenizer> tokenizer_;
  const std::unique_ptr<text::PromptFormat> format_;
  const std::shared_ptr<const chat::StateProbe> probe_;  // or null
  const Options options_;
  const size_t context_;
  const model::KvType kv_type_;
  const Speculate speculate_;
  chat::BackendInfo info_;
  std::vector<int32_t> end_tokens_;

  // Shared with callers, under its mutex.
  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
  std::deque<std::unique_ptr<Sequence>> waiting_;
  Counters counters_;
  std::vector<View> views_;  // of running_; reserved for all slots
  int active_ = 0;
  bool stopping_ = false;

  // The engine thread's own.
  std::unique_ptr<Slots> slots_;
  PrefixKey fingerprint_;  // of the disk tier; zero: none
  std::vector<std::unique_ptr<Sequence>> running_;
  std::unique_ptr<model::Forward> forward_;
  std::vector<model::Row> rows_;
  std::vector<int> outputs_;
  std::vector<int> prompt_ends_;  // rows without logits whose states are read
  std::vector<Planned> plan_;
  std::vector<DraftPlan> drafts_;                   // of plan_, in its order
  std::vector<std::unique_ptr<Drafter>> drafters_;  // of no sequence
  Speculation speculation_;
  SamplerScratch scratch_;
  double row_seconds_ = 0;  // what a prompt row took lately

  std::thread thread_;
};

Status check(const Options& options) {
  const auto bad = [](const char* what, int low, int high, int got) {
    return make_error(ErrorCode::kInvalidArgument, std::string(what) + ": expected " + std::to_string(low) +
                                                       " to " + std::to_string(high) + ", got " +
                                                       std::to_string(got));
  };
  if (options.threads < 0 || options.threads > 256) return bad("threads", 0, 256, options.threads);
  if (options.context_tokens < 0 || options.context_tokens > 1 << 20)
    return bad("context", 0, 1 << 20, options.context_tokens);
  if (options.slots < 1 || options.slots > kSlotsMax) return bad("slots", 1, kSlotsMax, options.slots);
  if (options.kv_memory_mb < 0 || options.kv_memory_mb > kKvMemoryMbMax)
    return bad("KV memory", 0, kKvMemoryMbMax, options.kv_memory_mb);
  if (options.kv_disk_mb < 0 || options.kv_disk_mb > kKvMemoryMbMax)
    return bad("KV disk", 0, kKvMemoryMbMax, options.kv_disk_mb);
  if (options.queue_max < 0 || options.queue_max > 4096) return bad("queue", 0, 4096, options.queue_max);
  if (options.prefill_chunk < 1 || options.prefill_chunk > 4096)
    return bad("prefill chunk", 1, 4096, options.prefill_chunk);
  if (options.prefill_budget_ms < 1 || options.prefill_budget_ms > 60000)
    return bad("prefill budget", 1, 60000, options.prefill_budget_ms);
  return {};
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::load(const std::string& path, const Options& wanted) {
  Options options = wanted;
  HEDGE_TRY(check(options));
  HEDGE_TRY_SET(const model::KvType kv_type, model::parse_kv_type(options.kv_type));
  HEDGE_TRY_SET(const Speculate speculate, parse_speculate(options.speculation));
  HEDGE_TRY_SET(std::unique_ptr<model::Model> model, model::Model::load(path, options.threads));
  std::shared_ptr<const chat::StateProbe> probe;
  if (options.probe) {
    HEDGE_TRY_SET(probe, options.probe(model->file(), model->config()));
    if (probe) options.state_blocks.assign(probe->blocks().begin(), probe->blocks().end());
  }
  for (size_t i = 0; i < options.state_blocks.size(); ++i) {
    const int block = options.state_blocks[i];
    if (block < 0 || block >= model->config().layers || (i > 0 && block <= options.state_blocks[i - 1])) {
      return make_error(ErrorCode::kInvalidArgument, "state blocks: expected rising numbers from 0 to " +
                                                         std::to_string(model->config().layers - 1) +
                                                         ", got " + std::to_string(block));
    }
  }
  auto prefault = std::make_unique<model::Prefault>(model->weights());
  HEDGE_TRY_SET(std::unique_ptr<text::Tokenizer> tokenizer, text::Tokenizer::load(model->file()));
  if (tokenizer->vocab_size() != model->config().vocab) {
    return make_error(ErrorCode::kCorrupt,
                      path + ": the tokenizer has " + std::to_string(tokenizer->vocab_size()) +
                          " tokens, the embedding " + std::to_string(model->config().vocab));
  }
  HEDGE_TRY_SET(std::unique_ptr<text::PromptFormat> format,
                text::PromptFormat::load(model->file(), *tokenizer));
  const int trained = model->config().context;
  int context = options.context_tokens > 0 ? options.context_tokens : std::min(kContextDefault, trained);
  if (context > trained) {
    return make_error(ErrorCode::kInvalidArgument, "context: the model was trained for " +
                                                       std::to_string(trained) + " tokens, " +
                                                       std::to_string(context) + " were asked for");
  }
  auto engine =
      std::make_unique<EngineImpl>(std::move(model), std::move(prefault), std::move(tokenizer),
                                   std::move(format), std::move(probe), options, context, kv_type, speculate);
  HEDGE_TRY(engine->begin());
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace hedge::engine
