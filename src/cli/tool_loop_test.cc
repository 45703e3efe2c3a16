// Tool loops through recorder, router and store: whoever begins one goes on with it, and what goes upstream
// is the conversation as it stands in the store.
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <cstdlib>

#include <string>

#include "base/rng.h"
#include "route/fake_backend.h"
#include "route/router.h"
#include "session/capsule.h"
#include "session/recorder.h"
#include "session/test_util.h"

namespace hedge::cli {
namespace {

using chat::Message;
using chat::Role;

struct Said {
  std::string backend;  // empty: refused
  std::string text;
  std::vector<chat::ToolCall> calls;
  Error error;
};

// A device with a local model and an upstream, both scripted by `calls`: the next answer calls a tool.
class ToolLoop : public ::testing::Test {
 protected:
  route::FakeBackend::Plan plan(std::string name) {
    return [this, name](const chat::Request& request) -> Result<route::FakePlan> {
      if (name != "local") {
        ++sent_;
        last_sent_ = request;
      }
      route::FakePlan plan;
      if (refuses_bound_ && !request.routing.bound_to.empty())
        return make_error(ErrorCode::kUnavailable, "bound to another");
      plan.events.push_back(chat::Event(chat::Started{name, "fake", 1, 0, name == "local" ? "" : endpoint_}));
      const std::string number = std::to_string(++answers_);
      chat::Done done;
      if (calls_ && name != "local") {
        done.tool_calls = {{"call_" + number, "look_up", R"({"n":)" + number + "}", state_}};
        done.reason = chat::FinishReason::kToolCalls;
      } else {
        plan.events.push_back(chat::Event(route::token_delta("answer " + number)));
      }
      plan.events.push_back(chat::Event(std::move(done)));
      return plan;
    };
  }

  void SetUp() override { build({}); }
  void build(route::Policy policy) {
    policy.race_after_ms = 0;
    policy.confidence.enabled = false;
    store_ = session::open_or_die(folder_.file("sessions.db"));
    router_ = route::Router::create(local_, &upstream_, policy);
    recorder_ = session::make_recorder(*router_, *store_);
  }

  Said ask(const std::vector<Message>& messages, const std::string& session,
           chat::Route route = chat::Route::kAuto, bool is_private = false) {
    chat::Request request = session::request_of(messages, session);
    request.routing.route = route;
    request.routing.private_session = is_private;
    if (offers_tools_) request.tools = R"([{"type":"function","function":{"name":"look_up"}}])";
    Said said;
    auto stream = recorder_->start(request);
    if (!stream.ok()) return said.error = stream.error(), said;
    while (true) {
      auto event = (*stream)->next(kNoDeadline);
      if (!event.ok()) return said.backend.clear(), said.error = event.error(), said;
      if (auto* started = std::get_if<chat::Started>(&*event)) said.backend = started->backend;
      if (auto* delta = std::get_if<chat::Delta>(&*event)) said.text += delta->text;
      if (auto* done = std::get_if<chat::Done>(&*event)) {
        said.calls = done->tool_calls;
        reasons_ = done->trace->reasons;
        return said;
      }
    }
  }
  std::vector<session::Turn> turns_of(const std::string& session) {
    auto turns = store_->turns(session);
    return turns.ok() ? std::move(turns).value() : std::vector<session::Turn>();
  }
  static Message turn_of(const Said& said) {
    Message message = session::assistant(said.text);
    message.tool_calls = said.calls;
    return message;
  }
  static Message result_of(const chat::ToolCall& call) {
    Message message{Role::kTool, "result of " + call.id, ""};
    message.tool_call_id = call.id;
    return message;
  }
  void set_upstream(bool available) {
    chat::BackendState state;
    state.available = available;
    state.unavailable_reason = available ? "" : "breaker_open";
    upstream_.set_state(state);
  }

  const session::TemporaryFolder folder_;
  int answers_ = 0, sent_ = 0;
  chat::Request last_sent_;
  bool calls_ = false, offers_tools_ = false, refuses_bound_ = false;
  std::string state_, endpoint_;
  std::vector<std::string> reasons_;
  route::FakeBackend local_{"local", plan("local")};
  route::FakeBackend upstream_{"cloud", plan("cloud")};
  std::unique_ptr<session::Store> store_;
  std::unique_ptr<route::Router> router_;
  std::unique_ptr<chat::Backend> recorder_;
};

TEST_F(ToolLoop, OnlyAnUpstreamCallsTools) {
  offers_tools_ = true;
  const Said first = ask({session::user("q")}, "s");
  EXPECT_EQ(first.backend, "cloud");
  EXPECT_EQ(reasons_, std::vector<std::string>{"gate.tools"});
  const Said private_one = ask({session::user("q")}, "p", chat::Route::kAuto, true);
  EXPECT_TRUE(private_one.backend.empty());
  EXPECT_EQ(private_one.error.field, "tools");
  EXPECT_NE(private_one.error.detail.find("gate.private_session"), std::string::npos);
  set_upstream(false);
  EXPECT_EQ(ask({session::user("q")}, "s").error.code, ErrorCode::kUnavailable);
}

TEST_F(ToolLoop, WhoBeganItGoesOn) {
  calls_ = true;
  std::vector<Message> messages = {session::user("q")};
  const Said called = ask(messages, "s", chat::Route::kUpstream);
  ASSERT_EQ(called.calls.size(), 1u);
  messages.push_back(turn_of(called));
  messages.push_back(result_of(called.calls[0]));
  calls_ = false;
  // Neither the request nor the default moves it home, under this session's name or any.
  const Said done = ask(messages, "s", chat::Route::kLocal);
  EXPECT_EQ(done.backend, "cloud");
  EXPECT_EQ(reasons_, std::vector<std::string>{"gate.tool_loop"});
  EXPECT_EQ(ask(messages, "another").backend, "cloud");
  messages.push_back(turn_of(done));
  messages.push_back(session::user("next"));
  EXPECT_EQ(ask(messages, "s").backend, "local") << "the loop is over";
}

TEST_F(ToolLoop, AnUpstreamThatIsAwayIsAnErrorAndNoOtherTakesItsPlace) {
  calls_ = true;
  const Said called = ask({session::user("q")}, "s", chat::Route::kUpstream);
  set_upstream(false);
  const Said refused = ask({session::user("q"), turn_of(called), result_of(called.calls[0])}, "s");
  EXPECT_TRUE(refused.backend.empty());
  EXPECT_EQ(refused.error.code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error.detail.find("cloud began this tool loop"), std::string::npos)
      << refused.error.detail;
  EXPECT_TRUE(local_.requests().empty());
}

TEST_F(ToolLoop, PrivacyStandsAboveTheLoop) {
  calls_ = true;
  const Said called = ask({session::user("q")}, "s", chat::Route::kUpstream);
  const size_t sent = upstream_.requests().size();
  Message result = result_of(called.calls[0]);
  result.content = "her card is 4111 1111 1111 1111";
  const Said refused = ask({session::user("q"), turn_of(called), result}, "s");
  EXPECT_TRUE(refused.backend.empty());
  EXPECT_NE(refused.error.detail.find("gate.personal_data"), std::string::npos) << refused.error.detail;
  EXPECT_EQ(upstream_.requests().size(), sent);
  EXPECT_TRUE(local_.requests().empty());
}

TEST_F(ToolLoop, WhatToolsAreCalledWithIsLookedAtToo) {
  Message called = session::assistant("");
  called.tool_calls = {{"call_1", "mail", R"({"to":"jane.doe\u0040example.com"})"}};
  const Said said =
      ask({session::user("q"), called, result_of(called.tool_calls[0])}, "s", chat::Route::kUpstream);
  EXPECT_EQ(said.backend, "local");
  EXPECT_TRUE(upstream_.requests().empty());
}

TEST_F(ToolLoop, StateOfABackendBindsTheConversation) {
  calls_ = true;
  state_ = R"({"signature":"s"})";
  std::vector<Message> messages = {session::user("q")};
  const Said called = ask(messages, "s", chat::Route::kUpstream);
  messages.push_back(turn_of(called));
  messages.push_back(result_of(called.calls[0]));
  calls_ = false;
  messages.push_back(turn_of(ask(messages, "s")));
  messages.push_back(session::user("next"));
  EXPECT_EQ(ask(messages, "s").backend, "cloud");
  EXPECT_EQ(reasons_, std::vector<std::string>{"gate.provider_state"});
  EXPECT_EQ(upstream_.requests().back().messages[1].tool_calls[0].extra, state_) << "goes back as it came";
}

TEST_F(ToolLoop, ALoopOfTheLocalModelStaysHere) {
  const Said called = ask({session::user("q")}, "s");
  ASSERT_EQ(called.backend, "local");
  const Said next =
      ask({session::user("q"), turn_of(called), {Role::kTool, "42", "sum"}}, "s", chat::Route::kUpstream);
  EXPECT_EQ(next.backend, "local");
  EXPECT_TRUE(upstream_.requests().empty());
}

TEST_F(ToolLoop, AnotherHedgeKeepsTheLock) {
  calls_ = true;
  const Said called = ask({session::user("q")}, "s", chat::Route::kUpstream);
  const std::string capsule = session::encode_capsule({store_->load("s").value(), std::nullopt});
  const auto other = session::open_or_die(folder_.file("other.db"));
  ASSERT_OK(other->adopt(session::decode_capsule(capsule)->session));
  store_ = session::open_or_die(folder_.file("other.db"));
  recorder_ = session::make_recorder(*router_, *store_);
  calls_ = false;
  const Said done = ask({session::user("q"), turn_of(called), result_of(called.calls[0])}, "s");
  EXPECT_EQ(done.backend, "cloud");
}

TEST_F(ToolLoop, AnotherUpstreamOfTheSameNameDoesNotGoOn) {
  calls_ = true;
  endpoint_ = "0123456789abcdef";
  const Said called = ask({session::user("q")}, "s", chat::Route::kUpstream);
  calls_ = false;
  const std::vector<Message> next = {session::user("q"), turn_of(called), result_of(called.calls[0])};
  EXPECT_EQ(ask(next, "s").backend, "cloud");
  EXPECT_EQ(last_sent_.routing.bound_to, "cloud#0123456789abcdef") << "by which upstream/ knows it";
  refuses_bound_ = true;
  const Said refused = ask(next, "s");
  EXPECT_EQ(refused.error.code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error.detail.find("cloud began this tool loop"), std::string::npos)
      << refused.error.detail;
}

// Conversations of 18 turns at random, six kinds of them, with wishes, failures and privacy at random points:
// inside a tool loop no other backend than the one that began it ever answers, and whatever goes upstream is
// the transcript of the store. HEDGE_TOOL_LOOP_SESSIONS sets how many of each kind (40 in the full check,
// times five seeds).
TEST_F(ToolLoop, RandomConversationsAreNeverSplit) {
  const char* count = std::getenv("HEDGE_TOOL_LOOP_SESSIONS");
  const int sessions = count == nullptr ? 3 : std::atoi(count);
  const int seeds = count == nullptr ? 1 : 5;
  int turns = 0, loops = 0, unsafe = 0, refused = 0, switches = 0, sent_elsewise = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    for (int kind = 0; kind < 6; ++kind) {
      for (int number = 0; number < sessions; ++number) {
        Rng rng(static_cast<uint64_t>(seed * 1'000'000 + kind * 10'000 + number));
        const std::string session = fmt::format("s-{}-{}-{}", seed, kind, number);
        const uint64_t call_share = kind == 0 ? 0 : kind == 5 ? 80 : 20 * static_cast<uint64_t>(kind);
        std::vector<Message> messages;
        std::string loop_of, before;  // who began the loop; who answered before
        int asked = 0;
        for (int turn = 0; turn < 18; ++turn) {
          ++turns;
          if (loop_of.empty())
            messages.push_back(session::user(fmt::format("question {} of {}", asked++, session)));
          calls_ = rng.below(100) < call_share;
          state_ = kind == 4 && rng.below(4) == 0 ? R"({"signature":"x"})" : "";
          set_upstream(rng.below(10) != 0);
          const auto route = static_cast<chat::Route>(rng.below(3));
          const int sent = sent_;
          const Said said = ask(messages, rng.below(3) == 0 ? "" : session, route);
          if (sent_ > sent) {
            // What left is what the client sent, and after the answer the store's turns are the same.
            sent_elsewise +=
                session::transcript_hash(last_sent_.messages) != session::transcript_hash(messages);
          }
          if (said.backend.empty()) {
            ++refused;
            if (loop_of.empty()) messages.pop_back();  // the client asks something else
            continue;
          }
          if (!loop_of.empty()) {
            ++loops;
            unsafe += said.backend != loop_of;
          }
          switches += !before.empty() && before != said.backend;
          before = said.backend;
          messages.push_back(turn_of(said));
          loop_of.clear();
          if (!said.calls.empty() || rng.below(100) < call_share / 4) {
            loop_of = said.backend;
            Message result =
                said.calls.empty() ? Message{Role::kTool, "result", "f"} : result_of(said.calls[0]);
            messages.push_back(std::move(result));
          }
        }
        // The store has the same conversation, to the byte.
        std::vector<Message> kept;
        for (const session::Turn& turn : turns_of(session)) kept.push_back(turn.message);
        if (!loop_of.empty()) messages.pop_back();  // a result that was not sent yet
        while (!messages.empty() && messages.back().role == Role::kUser) messages.pop_back();
        if (kept.empty()) continue;
        EXPECT_EQ(session::transcript_hash(kept), session::transcript_hash(messages)) << session;
      }
    }
  }
  std::printf("%d turns, %d of them inside tool loops, %d switches outside, %d refused, unsafe switches %d\n",
              turns, loops, switches, refused, unsafe);
  EXPECT_EQ(unsafe, 0);
  EXPECT_EQ(sent_elsewise, 0);
  EXPECT_GT(loops, turns / 20);
  EXPECT_GT(switches, 0);
}

}  // namespace
}  // namespace hedge::cli
