#include "session/recorder.h"

#include <atomic>
#include <deque>
#include <functional>
#include <thread>

#include "session/test_util.h"

namespace hedge::session {
namespace {

using Texts = std::vector<std::string>;

// Plays a list of events or errors; keeps the requests that it was given.
class ScriptedBackend : public chat::Backend {
 public:
  using Script = std::deque<Result<chat::Event>>;
  explicit ScriptedBackend(std::function<Script(const chat::Request&)> script) : script_(std::move(script)) {}

  const chat::BackendInfo& info() const override { return info_; }
  chat::BackendState state() const override { return {false, "loading", 3, 4}; }
  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    if (refuse_) return make_error(ErrorCode::kExhausted, "queue full");
    return std::unique_ptr<chat::Stream>(new PlayedStream(script_(request), cancels_, told_));
  }

  chat::Request last_request() {
    const std::lock_guard lock(mutex_);
    return requests_.empty() ? chat::Request() : requests_.back();
  }
  bool refuse_ = false;
  std::atomic<int> cancels_ = 0;
  std::shared_ptr<const chat::Trace> told_;  // Stream::trace(), once it has ended

 private:
  class PlayedStream : public chat::Stream {
   public:
    PlayedStream(Script script, std::atomic<int>& cancels, std::shared_ptr<const chat::Trace> told)
        : script_(std::move(script)), cancels_(cancels), told_(std::move(told)) {}
    Result<chat::Event> next(Deadline) override {
      ended_ = cancelled_ || script_.empty();
      if (ended_) return make_error(ErrorCode::kCancelled, "ended");
      Result<chat::Event> event = std::move(script_.front());
      script_.pop_front();
      ended_ = !event.ok();
      return event;
    }
    std::shared_ptr<const chat::Trace> trace() const override { return ended_ ? told_ : nullptr; }
    void cancel() override {
      cancelled_ = true;
      ++cancels_;
    }

   private:
    Script script_;
    std::atomic<int>& cancels_;
    std::atomic<bool> cancelled_ = false;
    bool ended_ = false;
    const std::shared_ptr<const chat::Trace> told_;
  };

  const chat::BackendInfo info_{"local", "fake", 128};
  const std::function<Script(const chat::Request&)> script_;
  std::mutex mutex_;
  std::vector<chat::Request> requests_;
};

chat::Event started(const char* backend) { return chat::Started{backend, "fake", 1, 0}; }
chat::Event delta(const char* text) { return chat::Delta{text, {}}; }
chat::Event switched(const char* from, const char* to, const char* why) {
  return chat::Switched{from, to, why};
}
chat::Event done(std::shared_ptr<const chat::Trace> trace = nullptr) {
  return chat::Done{chat::FinishReason::kStop, {}, std::move(trace)};
}

struct Played {
  std::string text;
  std::shared_ptr<const chat::Trace> trace;
  std::optional<Error> error;
  int timeouts = 0;
};

Played play(chat::Stream& stream) {
  Played played;
  for (;;) {
    const Result<chat::Event> event = stream.next(kNoDeadline);
    if (!event.ok() && event.error().code == ErrorCode::kTimeout) {
      ++played.timeouts;
      continue;
    }
    if (!event.ok()) {
      played.error = event.error();
      return played;
    }
    if (const auto* piece = std::get_if<chat::Delta>(&event.value())) played.text += piece->text;
    if (const auto* end = std::get_if<chat::Done>(&event.value())) {
      played.trace = end->trace;
      return played;
    }
  }
}

class RecorderTest : public ::testing::Test {
 protected:
  static ScriptedBackend::Script hello(const chat::Request&) {
    return {started("local"), delta("Hel"), delta("lo"), done()};
  }

  std::unique_ptr<chat::Stream> start(chat::Backend& recorder, const chat::Request& request) {
    auto stream = recorder.start(request);
    if (!stream.ok()) ADD_FAILURE() << stream.error().to_text();
    return stream.ok() ? std::move(stream).value() : nullptr;
  }
  Played ask(chat::Backend& inner, const chat::Request& request) {
    const auto recorder = make_recorder(inner, *store_);
    const auto stream = start(*recorder, request);
    return stream ? play(*stream) : Played{};
  }

  TemporaryFolder folder_;
  std::unique_ptr<Store> store_ = open_or_die(folder_.file("sessions.db"));
};

TEST_F(RecorderTest, ItIsTheInnerBackendToWhoAsks) {
  ScriptedBackend inner(hello);
  const auto recorder = make_recorder(inner, *store_);
  EXPECT_EQ(recorder->info().model, "fake");
  EXPECT_EQ(recorder->state().unavailable_reason, "loading");
}

TEST_F(RecorderTest, TheTurnIsDurableBeforeDone) {
  ScriptedBackend inner(hello);
  const auto recorder = make_recorder(inner, *store_);
  chat::Request request = request_of({user("Hi")}, "s");
  request.id = "hd-7";
  const auto stream = start(*recorder, request);
  for (int i = 0; i < 3; ++i) ASSERT_OK(stream->next(kNoDeadline));
  EXPECT_EQ(store_->turns("s").error().code, ErrorCode::kNotFound);
  const auto last = stream->next(kNoDeadline);
  ASSERT_OK(last);
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:Hi", "assistant:Hello"}));
  const auto trace = std::get<chat::Done>(last.value()).trace;
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->id, "hd-7");
  EXPECT_EQ(trace->session, "s");
  EXPECT_EQ(trace->route, "local");
  EXPECT_EQ(trace->segments, (std::vector<chat::Segment>{{"local", 5}}));
  EXPECT_GT(trace->created_ms, 0);
  EXPECT_EQ(store_->decision("hd-7").value().segments, trace->segments);
  EXPECT_EQ(stream->next(kNoDeadline).error().code, ErrorCode::kCancelled);
}

TEST_F(RecorderTest, TheTraceOfTheRouterIsKeptAndNamesTheSession) {
  auto routed = std::make_shared<chat::Trace>(trace_of("hd-8", {{"local", 3}, {"cloud", 2}}));
  routed->route = "mixed";
  routed->reasons = {"confidence.mid"};
  routed->upstream_tokens = 42;
  ScriptedBackend inner([&](const chat::Request&) {
    return ScriptedBackend::Script{started("local"), delta("Hel"),
                                   switched("local", "cloud", "confidence.mid"), delta("lo"), done(routed)};
  });
  const Played played = ask(inner, request_of({user("Hi")}, "s"));
  ASSERT_TRUE(played.trace);
  EXPECT_EQ(played.trace->id, "hd-8");
  EXPECT_EQ(played.trace->session, "s");
  EXPECT_EQ(played.trace->reasons, routed->reasons);
  EXPECT_TRUE(routed->session.empty()) << "the router's own trace is not ours to change";
  EXPECT_EQ(store_->turns("s").value()[1].segments, routed->segments);
  EXPECT_EQ(tokens_spent_since(*store_, 0), 42);
}

TEST_F(RecorderTest, SegmentsAddUpToTheContent) {
  // A trace that counts bytes which were never handed on.
  ScriptedBackend inner([&](const chat::Request&) {
    return ScriptedBackend::Script{started("local"), delta("ab"), switched("local", "cloud", "x"),
                                   delta("cde"),
                                   done(std::make_shared<chat::Trace>(trace_of("hd-9", {{"local", 99}})))};
  });
  const Played played = ask(inner, request_of({user("Hi")}, "s"));
  ASSERT_TRUE(played.trace);
  EXPECT_EQ(played.trace->segments, (std::vector<chat::Segment>{{"local", 2}, {"cloud", 3}}));
}

TEST_F(RecorderTest, TheGateMayReadWhatWasSaidBefore) {
  ScriptedBackend inner(hello);
  ask(inner, request_of({user("q1")}, "s"));
  ask(inner, request_of({user("q2")}, "s"));
  const auto said = inner.last_request().routing.history();
  ASSERT_OK(said);
  EXPECT_EQ(*said,
            (std::vector<chat::Message>{user("q1"), assistant("Hello"), user("q2"), assistant("Hello")}));
  const auto recorder = make_recorder(inner, *store_);
  const auto stream = start(*recorder, request_of({user("q")}, "new"));
  EXPECT_TRUE(inner.last_request().routing.history()->empty());
}

TEST_F(RecorderTest, WhoWroteIsKeptWithItsEndpoint) {
  ScriptedBackend inner([](const chat::Request&) -> ScriptedBackend::Script {
    return {started("local"), delta("Hel"),
            chat::Event(chat::Switched{"local", "cloud", "forced", "0123456789abcdef"}), delta("lo"), done()};
  });
  ask(inner, request_of({user("q")}, "s"));
  const std::vector<Turn> turns = store_->turns("s").value();
  EXPECT_EQ(turns.back().writer, "cloud#0123456789abcdef");
  EXPECT_EQ(turns.back().segments, (std::vector<chat::Segment>{{"local", 3}, {"cloud", 2}}));
}

TEST_F(RecorderTest, WithoutIdsBothAreMade) {
  ScriptedBackend inner(hello);
  const Played played = ask(inner, request_of({user("Hi")}));
  ASSERT_TRUE(played.trace);
  EXPECT_EQ(played.trace->session.substr(0, 2), "s-");
  EXPECT_EQ(played.trace->id.substr(0, 3), "hd-");
  EXPECT_EQ(inner.last_request().routing.session, played.trace->session);
  EXPECT_EQ(inner.last_request().id, played.trace->id);
  EXPECT_EQ(contents(*store_, played.trace->session).size(), 2u);
  // The next request of the same conversation needs no id either.
  const Played second = ask(inner, request_of({user("Hi"), assistant("Hello"), user("more")}));
  ASSERT_TRUE(second.trace);
  EXPECT_EQ(second.trace->session, played.trace->session);
  EXPECT_EQ(contents(*store_, played.trace->session).size(), 4u);
}

TEST_F(RecorderTest, ThePrivateMarkIsKeptAndCarried) {
  ScriptedBackend inner(hello);
  chat::Request request = request_of({user("Hi")}, "s");
  request.routing.private_session = true;
  {
    const auto recorder = make_recorder(inner, *store_);
    const auto stream = start(*recorder, request);
    EXPECT_TRUE(store_->is_private("s").value()) << "durable before the answer";
    play(*stream);
  }
  request = request_of({user("Hi"), assistant("Hello"), user("more")}, "s");
  ask(inner, request);
  EXPECT_TRUE(inner.last_request().routing.private_session);
  request.routing.session.clear();
  ask(inner, request);
  EXPECT_TRUE(inner.last_request().routing.private_session);
  // The same conversation under another id is as private, and stays so.
  request.routing.session = "another";
  ask(inner, request);
  EXPECT_TRUE(inner.last_request().routing.private_session);
  ask(inner, request_of({user("only the last turn")}, "another"));
  EXPECT_TRUE(inner.last_request().routing.private_session);
  ask(inner, request_of({user("Hi")}, "unrelated"));
  EXPECT_FALSE(inner.last_request().routing.private_session);
}

TEST_F(RecorderTest, ABadSessionIdIsTheRequestsFault) {
  ScriptedBackend inner(hello);
  const auto recorder = make_recorder(inner, *store_);
  const auto stream = recorder->start(request_of({user("Hi")}, "no good"));
  ASSERT_FALSE(stream.ok());
  EXPECT_EQ(stream.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(stream.error().field, "hedge.session");
}

TEST_F(RecorderTest, ARefusalOfTheInnerBackendGoesThrough) {
  ScriptedBackend inner(hello);
  inner.refuse_ = true;
  const auto recorder = make_recorder(inner, *store_);
  const auto stream = recorder->start(request_of({user("Hi")}, "s"));
  ASSERT_FALSE(stream.ok());
  EXPECT_EQ(stream.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(store_->turns("s").error().code, ErrorCode::kNotFound);
}

TEST_F(RecorderTest, ATimeoutIsNotAnEnd) {
  ScriptedBackend inner([](const chat::Request&) {
    return ScriptedBackend::Script{started("local"), make_error(ErrorCode::kTimeout, "not yet"),
                                   delta("Hello"), make_error(ErrorCode::kTimeout, "not yet"), done()};
  });
  const Played played = ask(inner, request_of({user("Hi")}, "s"));
  EXPECT_EQ(played.timeouts, 2);
  EXPECT_TRUE(played.trace);
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:Hi", "assistant:Hello"}));
}

TEST_F(RecorderTest, AnAnswerThatFailsIsKeptAsFarAsItWasSeen) {
  ScriptedBackend inner([](const chat::Request&) {
    return ScriptedBackend::Script{started("local"), delta("Hel"), switched("local", "cloud", "forced"),
                                   delta("l"), make_error(ErrorCode::kInternal, "broke")};
  });
  chat::Request request = request_of({user("Hi")}, "s");
  request.id = "hd-f";
  const Played played = ask(inner, request);
  ASSERT_TRUE(played.error.has_value());
  EXPECT_EQ(played.error->code, ErrorCode::kInternal);
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:Hi", "assistant:Hell"}));
  const chat::Trace trace = store_->decision("hd-f").value();
  EXPECT_EQ(trace.reasons, (Texts{"forced", "failed"}));
  EXPECT_EQ(trace.route, "mixed");
  EXPECT_EQ(trace.segments, (std::vector<chat::Segment>{{"local", 3}, {"cloud", 1}}));
}

TEST_F(RecorderTest, ACancelledAnswerIsKeptAsFarAsItWasSeen) {
  ScriptedBackend inner(hello);
  const auto recorder = make_recorder(inner, *store_);
  chat::Request request = request_of({user("Hi")}, "s");
  request.id = "hd-c";
  const auto stream = start(*recorder, request);
  for (int i = 0; i < 2; ++i) ASSERT_OK(stream->next(kNoDeadline));
  stream->cancel();
  EXPECT_EQ(stream->next(kNoDeadline).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:Hi", "assistant:Hel"}));
  EXPECT_EQ(store_->decision("hd-c").value().reasons, Texts{"cancelled"});
}

TEST_F(RecorderTest, AClientThatLeavesCancelsAndKeeps) {
  ScriptedBackend inner(hello);
  const auto recorder = make_recorder(inner, *store_);
  {
    const auto stream = start(*recorder, request_of({user("Hi")}, "s"));
    for (int i = 0; i < 3; ++i) ASSERT_OK(stream->next(kNoDeadline));
  }
  EXPECT_EQ(inner.cancels_.load(), 1);
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:Hi", "assistant:Hello"}));
  // Nobody has seen anything: there is nothing to keep.
  { const auto stream = start(*recorder, request_of({user("Hi")}, "t")); }
  EXPECT_EQ(store_->turns("t").error().code, ErrorCode::kNotFound);
}

TEST_F(RecorderTest, WhatABrokenOffAnswerCostIsKept) {
  chat::Trace told = trace_of("hd-x");
  told.reasons = {"gate.request_upstream"};
  told.tenant = "office";
  told.upstream_tokens = 100;
  told.upstream_nanos = 7;
  int64_t spent = 0;
  enum class End { kLeaves, kCancels, kFails, kLeavesBeforeText, kFailsBeforeText };
  for (const End end :
       {End::kLeaves, End::kCancels, End::kFails, End::kLeavesBeforeText, End::kFailsBeforeText}) {
    const bool fails = end == End::kFails || end == End::kFailsBeforeText;
    const bool silent = end == End::kLeavesBeforeText || end == End::kFailsBeforeText;
    ScriptedBackend inner([&](const chat::Request&) {
      ScriptedBackend::Script script = {started("cloud")};
      if (!silent) script.emplace_back(delta("Hel"));
      if (fails) script.emplace_back(make_error(ErrorCode::kInternal, "broke"));
      return script;
    });
    inner.told_ = std::make_shared<const chat::Trace>(told);
    const auto recorder = make_recorder(inner, *store_);
    chat::Request request = request_of({user("Hi")}, "s" + std::to_string(static_cast<int>(end)));
    request.id = "hd-" + std::to_string(static_cast<int>(end));
    request.routing.tenant = "office";
    {
      const auto stream = start(*recorder, request);
      for (int i = 0; i < (silent ? 1 : 2); ++i) ASSERT_OK(stream->next(kNoDeadline));
      if (end == End::kCancels) stream->cancel();
      if (fails || end == End::kCancels) {
        EXPECT_FALSE(stream->next(kNoDeadline).ok());
      }
    }
    const auto trace = store_->decision(request.id);
    ASSERT_OK(trace);
    EXPECT_EQ(trace->reasons, (Texts{"gate.request_upstream", fails ? "failed" : "cancelled"}));
    EXPECT_TRUE(was_broken_off(*trace));
    EXPECT_EQ(trace->route, "upstream");
    EXPECT_EQ(contents(*store_, request.routing.session),
              silent ? Texts{} : (Texts{"user:Hi", "assistant:Hel"}));
    spent += 100;
    EXPECT_EQ(store_->upstream_spent_since(0).value().front().tenant, "office");
    EXPECT_EQ(tokens_spent_since(*store_, 0), spent);
  }
}

TEST_F(RecorderTest, AnEmptyAnswerIsATurnToo) {
  ScriptedBackend inner([](const chat::Request&) {
    return ScriptedBackend::Script{started("cloud"), done()};
  });
  const Played played = ask(inner, request_of({user("Hi")}, "s"));
  ASSERT_TRUE(played.trace);
  EXPECT_EQ(played.trace->route, "upstream");
  EXPECT_TRUE(played.trace->segments.empty());
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:Hi", "assistant:"}));
}

TEST_F(RecorderTest, RequestsAtOnceInOneSessionLoseNothing) {
  ScriptedBackend inner([](const chat::Request& request) {
    return ScriptedBackend::Script{started("local"), delta(("re " + request.messages.back().content).c_str()),
                                   done()};
  });
  const auto recorder = make_recorder(inner, *store_);
  constexpr int kThreads = 4, kRequests = 5;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  std::atomic<int> answered = 0;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRequests; ++i) {
        const auto stream = recorder->start(request_of({user(std::to_string(t * 100 + i))}, "s"));
        if (stream.ok() && play(*stream.value()).trace) ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered.load(), kThreads * kRequests);
  const Texts all = contents(*store_, "s");
  ASSERT_EQ(all.size(), 2u * kThreads * kRequests);
  for (size_t i = 0; i < all.size(); i += 2) {
    EXPECT_EQ("assistant:re " + all[i].substr(5), all[i + 1]);
  }
}

// A store whose calls fail from some point on.
class FailingStore : public Store {
 public:
  enum class Call { kNone, kResolve, kIsPrivate, kContinuesPrivate, kMark, kAppend };
  explicit FailingStore(Call failing) : failing_(failing) {}

  Result<std::string> resolve(const chat::Request&) override {
    if (failing_ == Call::kResolve) return refused();
    return std::string("s");
  }
  Result<bool> is_private(const std::string&) override {
    if (failing_ == Call::kIsPrivate) return refused();
    return false;
  }
  Result<bool> continues_private(const chat::Request&) override {
    if (failing_ == Call::kContinuesPrivate) return refused();
    return failing_ == Call::kMark;
  }
  Status mark_private(const std::string&, const std::string&) override {
    if (failing_ == Call::kMark) return refused();
    return {};
  }
  Status append(const std::string&, const chat::Request&, const Answer&, const chat::Trace&) override {
    if (failing_ == Call::kAppend) return refused();
    return {};
  }
  Status append_decision(const std::string&, const chat::Request&, const chat::Trace&) override {
    return refused();
  }
  Result<std::string> writer_of(const std::string&, const chat::Request&, const chat::Message*) override {
    return refused();
  }
  Result<std::vector<Turn>> turns(const std::string&) override { return refused(); }
  Result<SessionHead> head(const std::string&) override { return refused(); }
  Result<Session> load(const std::string&) override { return refused(); }
  Result<std::vector<SessionHead>> list(const std::optional<std::string>&) override { return refused(); }
  Status remove(const std::string&) override { return refused(); }
  Result<bool> adopt(const Session&) override { return refused(); }
  Result<std::string> key_of(const std::string&, const std::string& id) override { return id; }
  Result<chat::Trace> decision(const std::string&) override { return refused(); }
  Result<std::vector<Spent>> upstream_spent_since(int64_t) override { return refused(); }
  Result<int64_t> for_each_decision(int64_t, const std::function<bool(const chat::Trace&)>&) override {
    return refused();
  }

 private:
  static Error refused() { return make_error(ErrorCode::kPermission, "the file is read-only"); }
  const Call failing_;
};

TEST(RecorderFailures, AnAnswerThatCannotBeKeptIsNotDone) {
  ScriptedBackend inner([](const chat::Request&) {
    return ScriptedBackend::Script{started("local"), delta("Hello"), done()};
  });
  FailingStore store(FailingStore::Call::kAppend);
  const auto recorder = make_recorder(inner, store);
  const auto stream = recorder->start(request_of({user("Hi")}));
  ASSERT_OK(stream);
  const Played played = play(*stream.value());
  EXPECT_EQ(played.text, "Hello");
  EXPECT_FALSE(played.trace);
  ASSERT_TRUE(played.error.has_value());
  EXPECT_EQ(played.error->code, ErrorCode::kIo);
  EXPECT_NE(played.error->detail.find("file is read-only"), std::string::npos);
}

TEST(RecorderFailures, APromptThatCannotBeJudgedDoesNotLeave) {
  using Call = FailingStore::Call;
  for (const Call call : {Call::kResolve, Call::kIsPrivate, Call::kContinuesPrivate, Call::kMark}) {
    ScriptedBackend inner([](const chat::Request&) { return ScriptedBackend::Script{done()}; });
    FailingStore store(call);
    const auto recorder = make_recorder(inner, store);
    const auto stream = recorder->start(request_of({user("Hi")}));
    ASSERT_FALSE(stream.ok()) << static_cast<int>(call);
    EXPECT_EQ(stream.error().code, ErrorCode::kIo);
    EXPECT_TRUE(inner.last_request().messages.empty()) << "the inner backend saw the request";
  }
}

}  // namespace
}  // namespace hedge::session
