#include "session/recorder.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>
#include <variant>

#include "base/clock.h"
#include "session/history.h"
#include "session/ids.h"

namespace hedge::session {
namespace {

constexpr std::string_view kLocal = "local";

std::string route_of(const std::vector<chat::Segment>& segments, const std::string& writer) {
  bool local = false, upstream = false;
  for (const chat::Segment& segment : segments) (segment.backend == kLocal ? local : upstream) = true;
  if (segments.empty()) (writer == kLocal ? local : upstream) = true;
  return local && upstream ? "mixed" : upstream ? "upstream" : "local";
}

size_t bytes_of(const std::vector<chat::Segment>& segments) {
  size_t bytes = 0;
  for (const chat::Segment& segment : segments) bytes += segment.bytes;
  return bytes;
}

// A store that fails is this server's trouble, whatever the code says of the file: neither the client's key
// nor an upstream's data is at fault, and asking again at once does not help.
Error store_failed(Error error) {
  if (error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kUnavailable) return error;
  return make_error(ErrorCode::kIo, "the conversation cannot be kept: " + error.detail);
}

Result<std::vector<chat::Message>> said_in(Store& store, const std::string& session) {
  auto turns = store.turns(session);
  std::vector<chat::Message> out;
  if (!turns.ok() && turns.error().code == ErrorCode::kNotFound) return out;  // it begins
  if (!turns.ok()) return store_failed(turns.error());
  for (Turn& turn : *turns) out.push_back(std::move(turn.message));
  return out;
}

// One answer. next() belongs to one thread; cancel() only touches the inner stream.
class RecordingStream : public chat::Stream {
 public:
  RecordingStream(std::unique_ptr<chat::Stream> inner, Store& store, chat::Request request,
                  std::string writer)
      : inner_(std::move(inner)), store_(store), request_(std::move(request)), writer_(std::move(writer)) {}
  ~RecordingStream() override;

  Result<chat::Event> next(Deadline deadline) override;
  void cancel() override {
    cancelled_.store(true, std::memory_order_relaxed);
    inner_->cancel();
  }

 private:
  void observe(const chat::Event& event);
  chat::Trace own_trace() const;
  Result<chat::Event> finish(chat::Done done);
  void record_partial(std::string_view reason);

  const std::unique_ptr<chat::Stream> inner_;
  Store& store_;
  const chat::Request request_;
  const SteadyClock::time_point start_ = SteadyClock::now();
  const int64_t created_ms_ = unix_time_ms();
  std::string writer_;  // the backend that is writing now
  std::string endpoint_;
  std::string answer_;
  std::vector<chat::Segment> segments_;
  std::vector<chat::Step> steps_;
  std::atomic<bool> cancelled_ = false;
  bool ended_ = false;
};

RecordingStream::~RecordingStream() {
  if (ended_) return;
  // The client went away without a word.
  inner_->cancel();
  (void)inner_->next(SteadyClock::now()).ok();  // its end, from where on its trace is there
  record_partial(kReasonCancelled);
}

Result<chat::Event> RecordingStream::next(Deadline deadline) {
  if (ended_) return make_error(ErrorCode::kCancelled, "the answer has ended");
  Result<chat::Event> event = inner_->next(deadline);
  if (!event.ok()) {
    if (event.error().code == ErrorCode::kTimeout) return event;
    const bool cancelled =
        cancelled_.load(std::memory_order_relaxed) || event.error().code == ErrorCode::kCancelled;
    record_partial(cancelled ? kReasonCancelled : kReasonFailed);
    ended_ = true;
    return event;
  }
  observe(event.value());
  if (auto* done = std::get_if<chat::Done>(&event.value())) return finish(std::move(*done));
  return event;
}

void RecordingStream::observe(const chat::Event& event) {
  if (const auto* started = std::get_if<chat::Started>(&event)) {
    writer_ = started->backend;
    endpoint_ = started->endpoint;
  } else if (const auto* delta = std::get_if<chat::Delta>(&event)) {
    answer_ += delta->text;
    chat::append_segment(segments_, writer_, delta->text.size());
  } else if (const auto* switched = std::get_if<chat::Switched>(&event)) {
    writer_ = switched->to;
    endpoint_ = switched->endpoint;
    chat::Step step;
    step.at_ms = static_cast<int64_t>(seconds_since(start_) * 1000);
    step.what = switched->reason;
    step.detail = "from " + switched->from + " to " + switched->to;
    steps_.push_back(std::move(step));
  }
}

// For an answer whose backend has none to give: a plain backend, or one that broke off.
chat::Trace RecordingStream::own_trace() const {
  chat::Trace trace;
  trace.id = request_.id;
  trace.session = request_.routing.session;
  trace.route = route_of(segments_, writer_);
  for (const chat::Step& step : steps_) trace.reasons.push_back(step.what);
  trace.segments = segments_;
  trace.steps = steps_;
  trace.tenant = request_.routing.tenant;
  trace.created_ms = created_ms_;
  trace.total_ms = seconds_since(start_) * 1000;
  return trace;
}

Result<chat::Event> RecordingStream::finish(chat::Done done) {
  ended_ = true;
  auto trace = std::make_shared<chat::Trace>(done.trace ? *done.trace : own_trace());
  trace->session = public_id(request_.routing.session);
  if (trace->id.empty()) trace->id = request_.id;
  // What was handed on is what counts: the segments have to add up to the content, whoever made the trace.
  if (bytes_of(trace->segments) != answer_.size()) trace->segments = segments_;
  const Status appended =
      store_.append(request_.routing.session, request_,
                    Answer(answer_, done.tool_calls, chat::writer_of(writer_, endpoint_)), *trace);
  if (!appended.ok()) return store_failed(appended.error());
  done.trace = std::move(trace);
  return chat::Event(std::move(done));
}

void RecordingStream::record_partial(std::string_view reason) {
  chat::Trace trace = own_trace();
  if (const std::shared_ptr<const chat::Trace> told = inner_->trace()) {
    trace.reasons = told->reasons;
    trace.steps = told->steps;
    trace.facts = told->facts;
    trace.path = told->path;
    trace.upstream_tokens = told->upstream_tokens;
    trace.upstream_nanos = told->upstream_nanos;
  }
  trace.reasons.emplace_back(reason);
  // Best effort: there is nobody left to tell when this fails as well.
  if (answer_.empty()) {
    if (trace.upstream_tokens > 0)
      (void)store_.append_decision(request_.routing.session, request_, trace).ok();
    return;
  }
  (void)store_
      .append(request_.routing.session, request_, Answer(answer_, {}, chat::writer_of(writer_, endpoint_)),
              trace)
      .ok();
}

class Recorder : public chat::Backend {
 public:
  Recorder(chat::Backend& inner, Store& store) : inner_(inner), store_(store) {}

  const chat::BackendInfo& info() const override { return inner_.info(); }
  chat::BackendState state() const override { return inner_.state(); }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    chat::Request settled = request;
    const Status status = settle(settled);
    if (!status.ok()) return store_failed(status.error());
    HEDGE_TRY_SET(std::unique_ptr<chat::Stream> stream, inner_.start(settled));
    return std::unique_ptr<chat::Stream>(
        new RecordingStream(std::move(stream), store_, std::move(settled), inner_.info().name));
  }

 private:
  // Session, id and private mark. Any failure refuses the request: what cannot be judged does not leave.
  Status settle(chat::Request& request) {
    HEDGE_TRY_SET(request.routing.session, store_.resolve(request));
    if (request.id.empty()) {
      HEDGE_TRY_SET(request.id, make_decision_id());
    }
    bool& is_private = request.routing.private_session;
    HEDGE_TRY_SET(const bool marked, store_.is_private(request.routing.session));
    if (!marked && !is_private) {
      HEDGE_TRY_SET(is_private, store_.continues_private(request));
    }
    if (!marked && is_private)
      HEDGE_TRY(store_.mark_private(request.routing.session, request.routing.tenant));
    is_private = is_private || marked;
    request.routing.history = [&store = store_, session = request.routing.session] {
      return said_in(store, session);
    };
    return bind(request);
  }

  // Who began the tool loop that the request goes on with, or left its state in the conversation.
  Status bind(chat::Request& request) {
    request.routing.bound_to.clear();
    request.routing.bound_by_state = false;
    if (request.raw || request.messages.empty()) return {};
    const Binding binding = binding_of(request.messages);
    // A client that sends its last turn alone, which is a tool's result.
    const bool result_alone =
        earlier_messages(request.messages).empty() && request.messages.front().role == chat::Role::kTool;
    if (binding.message == nullptr && !result_alone) return {};
    HEDGE_TRY_SET(request.routing.bound_to,
                  store_.writer_of(request.routing.session, request, binding.message));
    request.routing.bound_by_state = binding.by_state && !request.routing.bound_to.empty();
    return {};
  }

  chat::Backend& inner_;
  Store& store_;
};

}  // namespace

bool was_broken_off(const chat::Trace& trace) {
  return std::any_of(trace.reasons.begin(), trace.reasons.end(), [](const std::string& reason) {
    return reason == kReasonCancelled || reason == kReasonFailed;
  });
}

std::unique_ptr<chat::Backend> make_recorder(chat::Backend& inner, Store& store) {
  return std::make_unique<Recorder>(inner, store);
}

}  // namespace hedge::session
