#include "server/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <random>

#include "api/session_id.h"
#include "api/way.h"
#include "server/guard.h"
#include "server/model_names.h"

namespace hedge::server {
namespace {

constexpr const char* kDecisionHeader = "x-hedge-decision";
constexpr const char* kStopping = "the server is stopping";

// "hd-" and 64 random bits from the system, in hexadecimal: the id is what protects a trace from strangers.
std::string new_decision_id() {
  std::random_device device;
  const uint64_t bits = (static_cast<uint64_t>(device()) << 32) | device();
  return fmt::format("hd-{:016x}", bits);
}

// All answers of one HTTP request. start() and run(i) each block a runner thread; the rest is under the
// mutex.
class Answer : public std::enable_shared_from_this<Answer> {
 public:
  Answer(Context& context, const api::Dialect& dialect, api::Call call, api::AnswerHead head,
         std::shared_ptr<Outbox> outbox)
      : context_(context),
        dialect_(dialect),
        head_(std::move(head)),
        outbox_(std::move(outbox)),
        stream_(call.stream),
        formatter_(dialect.make_formatter(call, head_)),
        requests_(std::move(call.requests)),
        streams_(requests_.size()),
        slots_(requests_.size()) {}

  void start(SlotHold first) {
    slots_[0] = std::move(first);
    const int more = static_cast<int>(requests_.size()) - 1;
    if (!context_.slots.try_take(more)) {
      Error error =
          make_error(ErrorCode::kExhausted, fmt::format("no room for {} answers at once", more + 1), "n");
      return fail(0, error);
    }
    for (size_t i = 1; i < slots_.size(); ++i) slots_[i] = SlotHold(context_.slots);
    for (size_t i = 0; i < requests_.size(); ++i) {
      auto started = context_.parts.backend->start(requests_[i]);
      if (!started.ok()) {
        fail(i, started.error());
        return drop_streams();
      }
      streams_[i] = std::move(started).value();
      outbox_->streams().add(streams_[i].get());
    }
    std::vector<RunnerPool::Job> others;
    for (size_t i = 1; i < requests_.size(); ++i) {
      others.push_back([self = shared_from_this(), i] { self->run(i); });
    }
    if (!others.empty() && !context_.answers.submit(std::move(others))) {
      fail(0, make_error(ErrorCode::kExhausted, "no thread is free for another answer"));
      return drop_streams();
    }
    run(0);
  }

 private:
  void run(size_t index) {
    Deadline head_due = stream_ ? deadline_after(Milliseconds(context_.options.head_wait_ms)) : kNoDeadline;
    bool open = true;
    while (open) {
      auto event = streams_[index]->next(head_due);
      if (event.ok()) {
        const bool done = std::holds_alternative<chat::Done>(event.value());
        if (done) drop_stream(index);
        open = deliver(index, event.value()) && !done;
        head_due = kNoDeadline;
      } else if (event.error().code == ErrorCode::kTimeout && head_due != kNoDeadline) {
        head_due = kNoDeadline;
        open = begin_late();
      } else {
        drop_stream(index);
        fail(index, event.error());
        open = false;
      }
    }
    drop_stream(index);
  }

  // False when the answer is over for everybody.
  bool deliver(size_t index, const chat::Event& event) {
    std::lock_guard lock(mutex_);
    if (failed_) return false;
    note_first_token(event);
    const std::string bytes = formatter_->add(index, event);
    const bool complete = formatter_->complete();
    if (const auto* done = std::get_if<chat::Done>(&event)) {
      slots_[index].release();
      if (done->trace != nullptr) context_.metrics.recent.note(*done->trace);
    }
    if (complete) context_.metrics.answer.observe(seconds_since(start_));
    if (!stream_) {
      if (complete) outbox_->reply(with_decision(body_reply()));
      return true;
    }
    begin_stream();
    if (!bytes.empty() && !outbox_->write(bytes)) {
      failed_ = true;
      return false;
    }
    if (complete) outbox_->finish();
    return true;
  }

  bool begin_late() {
    std::lock_guard lock(mutex_);
    if (!failed_) begin_stream();
    return !failed_;
  }

  void begin_stream() {
    if (begun_) return;
    begun_ = true;
    Reply head;
    head.content_type = dialect_.stream_content_type;
    head.headers.emplace_back("X-Accel-Buffering", "no");  // A proxy would collect the tokens otherwise.
    outbox_->begin_stream(with_decision(std::move(head)), dialect_.keep_alive);
  }

  // The first failure ends all choices: a status while nothing was sent, an event in the stream after that.
  void fail(size_t index, Error error) {
    std::lock_guard lock(mutex_);
    slots_[index].release();
    if (failed_) return;
    failed_ = true;
    outbox_->streams().cancel_all();
    if (outbox_->abandoned()) return;
    if (context_.stopping && error.code == ErrorCode::kCancelled) {
      error = make_error(ErrorCode::kUnavailable, kStopping);
    }
    // These are our credentials for an upstream, not the client's for us: a 401 would send its user looking
    // at theirs.
    if (error.code == ErrorCode::kPermission) error.code = ErrorCode::kUnavailable;
    const api::ApiError api_error = api::to_api_error(error);
    if (begun_) {
      outbox_->write(formatter_->stream_error(api_error));
      outbox_->finish();
      return;
    }
    Reply reply = error_reply(api_error);
    reply.body = dialect_.error_body(api_error);
    outbox_->reply(with_decision(std::move(reply)));
  }

  Reply body_reply() {
    Reply reply;
    reply.body = formatter_->body();
    return reply;
  }

  Reply with_decision(Reply reply) const {
    reply.headers.emplace_back(kDecisionHeader, head_.id);
    return reply;
  }

  void note_first_token(const chat::Event& event) {
    const auto* delta = std::get_if<chat::Delta>(&event);
    if (first_token_seen_ || delta == nullptr || delta->text.empty()) return;
    first_token_seen_ = true;
    context_.metrics.first_token.observe(seconds_since(start_));
  }

  void drop_stream(size_t index) {
    if (streams_[index] == nullptr) return;
    outbox_->streams().remove(streams_[index].get());
    streams_[index].reset();
  }
  void drop_streams() {
    for (size_t i = 0; i < streams_.size(); ++i) drop_stream(i);
  }

  Context& context_;
  const api::Dialect& dialect_;
  const api::AnswerHead head_;
  const std::shared_ptr<Outbox> outbox_;
  const bool stream_;
  const SteadyClock::time_point start_ = SteadyClock::now();

  std::mutex mutex_;
  std::unique_ptr<api::Formatter> formatter_;
  bool begun_ = false;   // the stream's head is in the outbox
  bool failed_ = false;  // an error was sent, or nobody listens
  bool first_token_seen_ = false;

  const std::vector<chat::Request> requests_;
  std::vector<std::unique_ptr<chat::Stream>> streams_;  // streams_[i] belongs to the thread of run(i)
  std::vector<SlotHold> slots_;
};

// Too many answers for this server even when it does nothing else: no retry would help, so it is no 429.
Status check_count(const Context& context, const api::Call& call) {
  int limit = context.options.requests_max;
  const bool local_only =
      context.parts.upstream == nullptr || call.requests.front().routing.route == chat::Route::kLocal;
  const int local_limit = context.parts.engine_answers_max;
  if (local_only && local_limit > 0) limit = std::min(limit, local_limit);
  const int count = static_cast<int>(call.requests.size());
  if (count <= limit) return {};
  const bool of_prompts = call.choices_per_prompt == 1;
  return make_error(
      ErrorCode::kInvalidArgument,
      fmt::format(
          "{}: expected at most {} answers at once (prompts times n), as this server is configured; got {}",
          of_prompts ? "prompt" : "n", limit, count),
      of_prompts ? "prompt" : "n");
}

// The choices of one prompt share a session, also one that is still to be derived.
Status share_session(Context& context, api::Call& call) {
  const auto choices = static_cast<size_t>(call.choices_per_prompt);
  if (choices == 1 || context.parts.store == nullptr) return {};
  for (size_t first = 0; first < call.requests.size(); first += choices) {
    HEDGE_TRY_SET(const std::string session, context.parts.store->resolve(call.requests[first]));
    for (size_t i = first; i < first + choices; ++i) call.requests[i].routing.session = session;
  }
  return {};
}

Status check_tokens(const Context& context, api::Call& call) {
  const text::Tokenizer& tokenizer = context.parts.engine->tokenizer();
  for (size_t i = 0; i < call.requests.size(); ++i) {
    const chat::Request& request = call.requests[i];
    for (size_t k = 0; k < request.prompt_tokens.size(); ++k) {
      if (tokenizer.valid(request.prompt_tokens[k])) continue;
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("prompt: expected token ids below {}, got {} at position {}",
                                    tokenizer.vocab_size(), request.prompt_tokens[k], k),
                        "prompt");
    }
    if (call.echo && !request.prompt_tokens.empty())
      call.echo_texts[i] = tokenizer.decode(request.prompt_tokens, true);
  }
  return {};
}

Result<api::Call> read_call(Context& context, const api::Dialect& dialect, const HttpRequest& request) {
  HEDGE_TRY_SET(api::Call call, dialect.parse(request.body));
  HEDGE_TRY(check_count(context, call));
  HEDGE_TRY_SET(const chat::Way way,
                api::read_way(request.path_so_far, request.hops, context.node, context.options.hops_max));
  for (chat::Request& one : call.requests) one.way = way;
  HEDGE_TRY(api::apply_session_header(call, request.session));
  HEDGE_TRY(check_tokens(context, call));
  const std::string tenant(tenant_of(request, context.options).value_or(""));
  for (chat::Request& one : call.requests) one.routing.tenant = tenant;
  HEDGE_TRY(share_session(context, call));
  return call;
}

}  // namespace

void answer_call(Context& context, const api::Dialect& dialect, const HttpRequest& request,
                 const std::shared_ptr<Outbox>& outbox, SlotHold slot) {
  if (outbox->abandoned()) return;
  const auto refuse = [&](const api::ApiError& error) {
    slot.release();
    Reply reply = error_reply(error);
    reply.body = dialect.error_body(error);
    outbox->reply(std::move(reply));
  };
  if (api::has_passed(request.path_so_far, context.node)) return refuse(api::loop_error(context.node));
  auto call = read_call(context, dialect, request);
  if (!call.ok()) return refuse(api::to_api_error(call.error()));
  api::AnswerHead head;
  if (!resolve_model(context.parts, call.value(), head.model)) return refuse(unknown_model(context.parts));
  head.id = new_decision_id();
  head.created_s = unix_time_ms() / 1000;
  for (size_t i = 0; i < call->requests.size(); ++i) {
    call->requests[i].id = i == 0 ? head.id : fmt::format("{}-{}", head.id, i);
  }
  const auto answer =
      std::make_shared<Answer>(context, dialect, std::move(call).value(), std::move(head), outbox);
  answer->start(std::move(slot));
}

}  // namespace hedge::server
