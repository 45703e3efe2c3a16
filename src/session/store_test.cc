#include "session/store.h"

#include <atomic>
#include <cmath>
#include <set>
#include <thread>

#include "session/test_postgres.h"

namespace hedge::session {
namespace {

using Texts = std::vector<std::string>;

class StoreTest : public StoreTestBase {
 protected:
  std::string resolve(const chat::Request& request) {
    const Result<std::string> id = store_->resolve(request);
    if (!id.ok()) ADD_FAILURE() << id.error().to_text();
    return id.ok() ? id.value() : "";
  }
  void append(const std::string& session, std::vector<chat::Message> messages, const std::string& answer) {
    const std::string id = "hd-" + std::to_string(next_id_++);
    const Status status = store_->append(session, request_of(std::move(messages)), answer,
                                         trace_of(id, {{"local", answer.size()}}));
    ASSERT_TRUE(status.ok()) << status.error().to_text();
  }

  int next_id_ = 1;
};
INSTANTIATE_TEST_SUITE_P(Both, StoreTest, ::testing::Values(Kind::kSqlite, Kind::kPostgres), kind_name);

TEST_P(StoreTest, ANamedSessionIsTheNamedOne) {
  for (const std::string& id :
       {std::string("a"), std::string("A.b_c:d-9"), std::string(kSessionIdBytesMax, 'x')}) {
    EXPECT_EQ(resolve(request_of({user("q")}, id)), id);
  }
}

TEST_P(StoreTest, ABadSessionIdNamesItsField) {
  for (const std::string& id :
       {std::string(kSessionIdBytesMax + 1, 'x'), std::string("a b"), std::string("a/b"),
        std::string("\xc3\xa9"), std::string("a\0b", 3), std::string("'--")}) {
    const auto resolved = store_->resolve(request_of({user("q")}, id));
    ASSERT_FALSE(resolved.ok()) << id;
    EXPECT_EQ(resolved.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(resolved.error().field, "hedge.session");
    const Status marked = store_->mark_private(id);
    ASSERT_FALSE(marked.ok());
    EXPECT_EQ(marked.error().code, ErrorCode::kInvalidArgument);
    const Status appended = store_->append(id, request_of({user("q")}), "a", trace_of("hd-1"));
    ASSERT_FALSE(appended.ok());
    EXPECT_EQ(appended.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_P(StoreTest, NewIdsAreRandomAndMakeNoRows) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string id = resolve(request_of({user("same")}));
    ASSERT_EQ(id.size(), 18u);
    EXPECT_EQ(id.substr(0, 2), "s-");
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef", 2), std::string::npos) << id;
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 100u);
  const auto turns = store_->turns(*ids.begin());
  ASSERT_FALSE(turns.ok());
  EXPECT_EQ(turns.error().code, ErrorCode::kNotFound);
}

TEST_P(StoreTest, AConversationFindsItsSessionWithoutAnId) {
  const std::string session = resolve(request_of({user("q1")}));
  append(session, {user("q1")}, "a1");
  EXPECT_EQ(resolve(request_of({user("q1"), assistant("a1"), user("q2")})), session);
  append(session, {user("q1"), assistant("a1"), user("q2")}, "a2");
  // The client trimmed the answer, and says two things at once.
  EXPECT_EQ(resolve(request_of(
                {user("q1"), assistant("a1\n"), user("q2"), assistant(" a2"), user("q3"), user("q4")})),
            session);
  // The second question again.
  EXPECT_EQ(resolve(request_of({user("q1"), assistant("a1"), user("q2, better")})), session);

  EXPECT_NE(resolve(request_of({user("q1")})), session);
  EXPECT_NE(resolve(request_of({user("q1"), assistant("another"), user("q2")})), session);
  EXPECT_NE(resolve(request_of({user("q1"), assistant("a1"), user("q2"), assistant("another"), user("q3")})),
            session);
  EXPECT_NE(resolve(request_of({{chat::Role::kSystem, "s", ""}, user("q1"), assistant("a1"), user("q2")})),
            session);
}

TEST_P(StoreTest, APrefixGivenByTheClientBelongsToTheConversation) {
  chat::Request request = request_of({user("q")});
  request.assistant_prefix = "It is";
  ASSERT_OK(store_->append("s", request, " so.", trace_of("hd-x", {{"local", 4}})));
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:q", "assistant:It is so."}));
  const std::vector<chat::Segment> expected = {{std::string(kClientBackend), 5}, {"local", 4}};
  EXPECT_EQ(store_->turns("s").value()[1].segments, expected);
  EXPECT_EQ(store_->decision("hd-x").value().segments, (std::vector<chat::Segment>{{"local", 4}}));
  EXPECT_EQ(resolve(request_of({user("q"), assistant("It is so."), user("more")})), "s");
}

TEST_P(StoreTest, OfSeveralSessionsThePrivateOneElseTheNewest) {
  append("first", {user("hi")}, "hello");
  append("second", {user("hi")}, "hello");
  append("third", {user("hi")}, "hello");
  const chat::Request next = request_of({user("hi"), assistant("hello"), user("more")});
  EXPECT_EQ(resolve(next), "third");
  ASSERT_OK(store_->mark_private("second"));
  EXPECT_EQ(resolve(next), "second");
}

TEST_P(StoreTest, APrivateMarkStays) {
  EXPECT_FALSE(store_->is_private("s").value());
  append("s", {user("q")}, "a");
  EXPECT_FALSE(store_->is_private("s").value());
  ASSERT_OK(store_->mark_private("s"));
  EXPECT_TRUE(store_->is_private("s").value());
  append("s", {user("q")}, "a");
  EXPECT_TRUE(store_->is_private("s").value());
  ASSERT_OK(store_->mark_private("new"));
  EXPECT_TRUE(store_->is_private("new").value());
  EXPECT_TRUE(contents(*store_, "new").empty());

  chat::Request marking = request_of({user("q")});
  marking.routing.private_session = true;
  ASSERT_OK(store_->append("other", marking, "a", trace_of("hd-p")));
  EXPECT_TRUE(store_->is_private("other").value());
}

TEST_P(StoreTest, APrivateConversationIsKnownUnderAnotherId) {
  append("s", {user("q1")}, "a1");
  append("s", {user("q1"), assistant("a1"), user("q2")}, "a2");
  const std::vector<chat::Message> longer = {user("q1"), assistant("a1"), user("q2"), assistant("elsewhere"),
                                             user("q3")};
  EXPECT_FALSE(store_->continues_private(request_of(longer, "another")).value());
  ASSERT_OK(store_->mark_private("s"));
  EXPECT_TRUE(store_->continues_private(request_of(longer, "another")).value());
  EXPECT_TRUE(store_->continues_private(request_of({user("q1"), assistant("a1"), user("q9")})).value());
  EXPECT_FALSE(store_->continues_private(request_of({user("q1")})).value());
  EXPECT_FALSE(store_->continues_private(request_of({user("q1"), assistant("other"), user("q2")})).value());
}

TEST_P(StoreTest, NobodyTriesOutWhatAnotherTenantSaid) {
  chat::Request first = request_of({user("What does the contract with the owner say?")});
  first.routing.tenant = "a";
  first.routing.private_session = true;
  ASSERT_OK(store_->append("s", first, "It says that the house is sold.", trace_of("hd-a", {{"local", 31}})));
  const auto known = [&](const std::string& tenant, const std::string& answer) {
    chat::Request next = request_of({first.messages[0], assistant(answer), user("And then?")});
    next.routing.tenant = tenant;
    return store_->continues_private(next).value();
  };
  for (const char* answer : {"It says that the house is sold.", "Something else."}) {
    EXPECT_TRUE(known("a", answer));
    EXPECT_TRUE(known("", answer)) << "the device's own key";
    EXPECT_FALSE(known("b", answer));
  }
}

TEST_P(StoreTest, AnEditedPrivateConversationIsStillPrivate) {
  const std::string question = "What does the contract with the owner say?";
  const std::string answer = "It says that the house is sold.";
  append("s", {{chat::Role::kSystem, "You are a helpful assistant.", ""}, user(question)}, answer);
  const auto continues = [&](const std::vector<chat::Message>& messages) {
    return store_->continues_private(request_of(messages)).value();
  };
  EXPECT_FALSE(continues({user(question), assistant("No."), user("And then?")})) << "not private yet";
  ASSERT_OK(store_->mark_private("s"));
  EXPECT_TRUE(continues({user(question), assistant("No."), user("And then?")})) << "the answer is edited";
  EXPECT_TRUE(continues({user("Hm."), assistant(" " + answer + "\n"), user("And then?")}))
      << "the question is";
  EXPECT_FALSE(continues({user("Hm."), assistant("No."), user("And then?")}));
  EXPECT_FALSE(continues({user(question)})) << "a conversation that begins is its own";
  EXPECT_FALSE(continues({user("Hm."), assistant("No."), user(question)})) << "asked now, not earlier";
  EXPECT_FALSE(continues({user(answer), assistant("No."), user("And then?")})) << "another said it";
  EXPECT_FALSE(
      continues({{chat::Role::kSystem, "You are a helpful assistant.", ""}, user("a"), assistant("b")}))
      << "many conversations have the same system message";
}

TEST_P(StoreTest, AppendsWhatIsNew) {
  const chat::Message system{chat::Role::kSystem, "be brief", ""};
  append("s", {system, user("q1")}, "a1");
  append("s", {system, user("q1"), assistant("a1"), user("q2")}, "a2");
  const Texts both = {"system:be brief", "user:q1", "assistant:a1", "user:q2", "assistant:a2"};
  EXPECT_EQ(contents(*store_, "s"), both);
  // Only the last turn is sent.
  append("s", {user("q3")}, "a3");
  Texts expected = both;
  expected.insert(expected.end(), {"user:q3", "assistant:a3"});
  EXPECT_EQ(contents(*store_, "s"), expected);
  // An edited history, and two messages at its end.
  append("s", {user("edited"), assistant("edited"), user("q4"), {chat::Role::kTool, "42", "sum"}}, "a4");
  expected.insert(expected.end(), {"user:q4", "tool:42", "assistant:a4"});
  EXPECT_EQ(contents(*store_, "s"), expected);
  EXPECT_EQ(store_->turns("s").value()[8].message.name, "sum");
  // A history with no message after the last answer.
  append("s", {user("x"), assistant("y")}, "z");
  expected.push_back("assistant:z");
  EXPECT_EQ(contents(*store_, "s"), expected);
}

TEST_P(StoreTest, ChoicesStandAfterOneQuestion) {
  const auto answer = [&](std::vector<chat::Message> messages, const std::string& text) {
    chat::Request request = request_of(std::move(messages));
    request.choices = 3;
    const std::string id = "hd-" + std::to_string(next_id_++);
    ASSERT_OK(store_->append("s", request, text, trace_of(id, {{"local", text.size()}})));
  };
  for (const char* text : {"a1", "a2", "a3"}) answer({user("q1")}, text);
  Texts expected = {"user:q1", "assistant:a1", "assistant:a2", "assistant:a3"};
  EXPECT_EQ(contents(*store_, "s"), expected);
  EXPECT_EQ(store_->turns("s").value()[3].decision_id, "hd-3");
  // The conversation goes on from any of them, and is found by it.
  const std::vector<chat::Message> next = {user("q1"), assistant("a2"), user("q2")};
  EXPECT_EQ(resolve(request_of(next)), "s");
  append("s", next, "b1");
  expected.insert(expected.end(), {"user:q2", "assistant:b1"});
  EXPECT_EQ(contents(*store_, "s"), expected);
  // Several again, of a client that sends its last turn alone.
  for (const char* text : {"c1", "c2"}) answer({user("q3")}, text);
  expected.insert(expected.end(), {"user:q3", "assistant:c1", "assistant:c2"});
  EXPECT_EQ(contents(*store_, "s"), expected);
  // A whole history of choices is known; one with an answer that was never given is not.
  append("s",
         {user("q1"), assistant("a3"), user("q2"), assistant("b1"), user("q3"), assistant("c1"), user("q4")},
         "d1");
  expected.insert(expected.end(), {"user:q4", "assistant:d1"});
  EXPECT_EQ(contents(*store_, "s"), expected);
  append("s", {user("q1"), assistant("a4"), user("q2")}, "e1");
  expected.insert(expected.end(), {"user:q2", "assistant:e1"});
  EXPECT_EQ(contents(*store_, "s"), expected);
}

TEST_P(StoreTest, AHistoryFromElsewhereIsTakenWhole) {
  append("s", {user("q1"), assistant("written elsewhere"), user("q2")}, "a2");
  EXPECT_EQ(contents(*store_, "s"),
            (Texts{"user:q1", "assistant:written elsewhere", "user:q2", "assistant:a2"}));
  const auto turns = store_->turns("s").value();
  EXPECT_TRUE(turns[1].decision_id.empty());
  EXPECT_TRUE(turns[1].segments.empty());
  EXPECT_EQ(turns[3].decision_id, "hd-1");
  EXPECT_EQ(turns[3].segments, (std::vector<chat::Segment>{{"local", 2}}));
  EXPECT_GT(turns[3].created_ms, 1'700'000'000'000);
}

TEST_P(StoreTest, ARawPromptIsAUsersTurn) {
  chat::Request request;
  request.raw = true;
  request.prompt = "Once upon";
  ASSERT_OK(store_->append("s", request, " a time", trace_of("hd-1", {{"local", 7}})));
  request.prompt.clear();
  request.prompt_tokens = {1, 22, 333};
  ASSERT_OK(store_->append("s", request, "x", trace_of("hd-2", {{"local", 1}})));
  EXPECT_EQ(contents(*store_, "s"),
            (Texts{"user:Once upon", "assistant: a time", "user:1 22 333", "assistant:x"}));
  EXPECT_EQ(store_->turns("s").value()[2].message.name, "token_ids");
  EXPECT_FALSE(store_->continues_private(request).value());
  EXPECT_EQ(resolve(request).substr(0, 2), "s-");
}

TEST_P(StoreTest, ADecisionIsAppendedOnce) {
  ASSERT_OK(store_->append("s", request_of({user("q")}), "a", trace_of("hd-1")));
  ASSERT_OK(store_->append("s", request_of({user("q")}), "a", trace_of("hd-1")));
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:q", "assistant:a"}));
  const Status elsewhere = store_->append("t", request_of({user("q")}), "a", trace_of("hd-1"));
  ASSERT_FALSE(elsewhere.ok());
  EXPECT_EQ(elsewhere.error().code, ErrorCode::kInvalidArgument);
  const Status nameless = store_->append("s", request_of({user("q")}), "a", trace_of(""));
  ASSERT_FALSE(nameless.ok());
  EXPECT_EQ(nameless.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(store_->turns("t").error().code, ErrorCode::kNotFound);
}

TEST_P(StoreTest, DecisionsComeBackWithTheirSession) {
  chat::Trace trace = trace_of("hd-1", {{"local", 3}, {"cloud", 4}});
  trace.route = "mixed";
  trace.reasons = {"confidence.mid"};
  trace.created_ms = 1'790'000'000'000;
  ASSERT_OK(store_->append("s", request_of({user("q")}), "abcdefg", trace));
  const auto stored = store_->decision("hd-1");
  ASSERT_OK(stored);
  EXPECT_EQ(stored.value().session, "s");
  EXPECT_EQ(stored.value().route, "mixed");
  EXPECT_EQ(stored.value().reasons, trace.reasons);
  EXPECT_EQ(stored.value().segments, trace.segments);
  EXPECT_EQ(stored.value().created_ms, trace.created_ms);
  EXPECT_EQ(store_->decision("hd-2").error().code, ErrorCode::kNotFound);
}

TEST_P(StoreTest, UpstreamTokensAreCountedSinceATime) {
  EXPECT_EQ(tokens_spent_since(*store_, 0), 0);
  for (int i = 0; i < 3; ++i) {
    chat::Trace trace = trace_of("hd-" + std::to_string(i));
    trace.upstream_tokens = 100 << i;
    trace.created_ms = int64_t{1000} * (i + 1);
    ASSERT_OK(store_->append("s", request_of({user("q")}), "a", trace));
  }
  EXPECT_EQ(tokens_spent_since(*store_, 0), 700);
  EXPECT_EQ(tokens_spent_since(*store_, 2000), 600);
  EXPECT_EQ(tokens_spent_since(*store_, 3001), 0);
}

TEST_P(StoreTest, ADecisionWithoutTurnsCountsOnceAndIsReadBack) {
  chat::Trace trace = trace_of("hd-1");
  trace.upstream_tokens = 40;
  for (int i = 0; i < 2; ++i) ASSERT_OK(store_->append_decision("s", request_of({user("q")}), trace));
  EXPECT_EQ(tokens_spent_since(*store_, 0), 40);
  EXPECT_TRUE(store_->turns("s").value().empty());
  EXPECT_EQ(store_->head("s").value().used.tokens, 40);
  EXPECT_EQ(store_->decision("hd-1").value().session, "s");
  EXPECT_FALSE(store_->append_decision("other", request_of({user("q")}), trace).ok());
  EXPECT_FALSE(store_->append_decision("s", request_of({user("q")}), trace_of("")).ok());
}

TEST_P(StoreTest, SpendingIsKnownByTenantAndTracesComeInOrder) {
  for (int i = 0; i < 4; ++i) {
    chat::Trace trace = trace_of("hd-" + std::to_string(i));
    trace.tenant = i == 3 ? "" : i == 2 ? "b" : "a";
    trace.upstream_tokens = 100 << i;
    trace.upstream_nanos = 5'000'000'000 + i;
    trace.created_ms = int64_t{1000} * (4 - i);
    trace.facts = {
        {"gain", "", 0.25, false}, {"model", "m", 0, true}, {"no number", "", std::nan(""), false}};
    ASSERT_OK(store_->append("s", request_of({user("q")}), "a", trace));
  }
  const auto spent = store_->upstream_spent_since(0);
  ASSERT_OK(spent);
  ASSERT_EQ(spent->size(), 3u);
  EXPECT_EQ((*spent)[0].tenant, "");
  EXPECT_EQ((*spent)[0].tokens, 800);
  EXPECT_EQ((*spent)[1].tenant, "a");
  EXPECT_EQ((*spent)[1].tokens, 300);
  EXPECT_EQ((*spent)[1].nanos, 10'000'000'001);
  std::string order;
  ASSERT_OK(store_->for_each_decision(2000, [&](const chat::Trace& trace) {
    order += trace.id + " ";
    EXPECT_EQ(trace.facts.size(), 2u);
    return true;
  }));
  EXPECT_EQ(order, "hd-2 hd-1 hd-0 ");
  order.clear();
  ASSERT_OK(store_->for_each_decision(0, [&](const chat::Trace& trace) {
    order += trace.id;
    return false;
  }));
  EXPECT_EQ(order, "hd-3");
}

TEST_P(StoreTest, AllOfItSurvivesReopening) {
  append("s", {user("q1")}, "a1");
  ASSERT_OK(store_->mark_private("s"));
  store_.reset();
  store_ = open_or_die(where_);
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:q1", "assistant:a1"}));
  EXPECT_TRUE(store_->is_private("s").value());
  EXPECT_EQ(resolve(request_of({user("q1"), assistant("a1"), user("q2")})), "s");
}

TEST_P(StoreTest, RequestsAtOnceLoseNothing) {
  constexpr int kThreads = 4, kTurns = 8;
  append("s", {user("q")}, "a");
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kTurns; ++i) {
        const std::string name = std::to_string(t) + "." + std::to_string(i);
        const chat::Request request = request_of({user("q"), assistant("a"), user("q" + name)});
        if (!store_->append("s", request, "a" + name, trace_of("hd-" + name)).ok()) ++failures;
        if (!store_->turns("s").ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
  const Texts all = contents(*store_, "s");
  ASSERT_EQ(all.size(), 2u + 2 * kThreads * kTurns);
  // Each answer stands right after its question.
  std::set<std::string> answers;
  for (size_t i = 0; i < all.size(); i += 2) {
    EXPECT_EQ(all[i].substr(6), all[i + 1].substr(11));
    answers.insert(all[i + 1]);
  }
  EXPECT_EQ(answers.size(), 1u + kThreads * kTurns);
}

TEST_P(StoreTest, TwoStoresOnOneFileSeeEachOther) {
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      const auto store = Store::open(where_);
      if (!store.ok()) {
        ADD_FAILURE() << store.error().to_text();
        ++failures;
        return;
      }
      for (int i = 0; i < 5; ++i) {
        const std::string id = "hd-" + std::to_string(t) + "." + std::to_string(i);
        if (!store.value()->append("s", request_of({user("q")}), "a", trace_of(id)).ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
  EXPECT_EQ(contents(*open_or_die(where_), "s").size(), 30u);
}

TEST_P(StoreTest, ATenantHasSessionsOfItsOwn) {
  const auto request = [](std::vector<chat::Message> messages, const std::string& tenant,
                          const std::string& session = "") {
    chat::Request out = request_of(std::move(messages), session);
    out.routing.tenant = tenant;
    return out;
  };
  ASSERT_OK(store_->append("s", request({user("q")}, "a"), "hello", trace_of("hd-1", {{"local", 5}})));
  EXPECT_EQ(store_->head("s")->tenant, "a");
  const std::vector<chat::Message> next = {user("q"), assistant("hello"), user("more")};
  EXPECT_EQ(resolve(request(next, "a")), "s");
  EXPECT_EQ(resolve(request(next, "a", "s")), "s");
  EXPECT_NE(resolve(request(next, "b")), "s") << "found by another's history";
  EXPECT_NE(resolve(request(next, "")), "s");
  EXPECT_EQ(store_->resolve(request(next, "", "s")).error().field, "hedge.session");
  EXPECT_EQ(resolve(request(next, "b", "s")), "b/s") << "an id that a has is as free to b as any";
  ASSERT_OK(store_->append("b/s", request({user("q")}, "b"), "hi", trace_of("hd-3", {{"local", 2}})));
  EXPECT_EQ(contents(*store_, "s").back(), "assistant:hello");
  ASSERT_OK(store_->remove("s"));
  EXPECT_EQ(store_->key_of("b", "s").value(), "b/s") << "it stays where it is";
  EXPECT_EQ(public_id("b/s"), "s");
  ASSERT_OK(store_->remove("b/s"));
  EXPECT_EQ(store_->key_of("b", "s").value(), "s");
  ASSERT_OK(store_->append("s", request({user("q")}, "a"), "hello", trace_of("hd-1", {{"local", 5}})));
  ASSERT_OK(store_->append("t", request({user("q")}, "b"), "hello", trace_of("hd-2", {{"local", 5}})));
  ASSERT_EQ(store_->list("b")->size(), 1u);
  EXPECT_EQ(store_->list("b")->front().id, "t");
  EXPECT_EQ(store_->list(std::nullopt)->size(), 2u);
  EXPECT_TRUE(store_->list("nobody")->empty());
}

TEST_P(StoreTest, ToolCallsAndTheirWriterAreKept) {
  const std::vector<chat::ToolCall> calls = {{"call_1", "weather", R"({"city":"Zürich"})"},
                                             {"call_2", "time", "{", R"({"signature":"x"})"}};
  ASSERT_OK(
      store_->append("s", request_of({user("Weather?")}), Answer("", calls, "cloud"), trace_of("hd-1")));
  chat::Message called = assistant("");
  called.tool_calls = calls;
  const auto turns = store_->turns("s");
  ASSERT_OK(turns);
  ASSERT_EQ(turns->size(), 2u);
  EXPECT_EQ((*turns)[1].message, called);
  EXPECT_EQ((*turns)[1].writer, "cloud");

  chat::Message result{chat::Role::kTool, "sunny", ""};
  result.tool_call_id = "call_1";
  const chat::Request next = request_of({user("Weather?"), called, result});
  EXPECT_EQ(resolve(next), "s") << "the calls are a part of the history";
  EXPECT_EQ(store_->writer_of("s", next, &next.messages[1]).value(), "cloud");
  EXPECT_EQ(store_->writer_of("another", next, &next.messages[1]).value(), "cloud") << "by the history";
  EXPECT_EQ(store_->writer_of("s", request_of({result}), nullptr).value(), "cloud");
  chat::Request other = next;
  other.messages[1].tool_calls[0].id = "call_9";
  EXPECT_EQ(store_->writer_of("s", other, &other.messages[1]).value(), "");
  EXPECT_NE(resolve(other), "s");
  // What a backend added to a call may be missing from what the client sends back.
  chat::Request plain = next;
  plain.messages[1].tool_calls[1].extra.clear();
  EXPECT_EQ(resolve(plain), "s");
  ASSERT_OK(
      store_->append("s", next, Answer("It is sunny.", {}, "cloud"), trace_of("hd-2", {{"cloud", 12}})));
  EXPECT_EQ(store_->turns("s")->size(), 4u);
  EXPECT_EQ(store_->turns("s")->at(2).message.tool_call_id, "call_1");
}

TEST_P(StoreTest, ASessionIsRemovedWithAllOfIt) {
  append("s", {user("q")}, "hello");
  append("t", {user("q")}, "hello");
  ASSERT_OK(store_->remove("s"));
  EXPECT_EQ(store_->turns("s").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->decision("hd-1").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->remove("s").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(resolve(request_of({user("q"), assistant("hello"), user("more")})), "t");
  append("s", {user("q")}, "anew");
  EXPECT_EQ(contents(*store_, "s"), (Texts{"user:q", "assistant:anew"}));
}

TEST_P(StoreTest, AnAdoptedSessionGoesOn) {
  append("s", {user("q1")}, "a1");
  append("s", {user("q1"), assistant("a1"), user("q2")}, "a2");
  ASSERT_OK(store_->mark_private("s"));
  Session session = store_->load("s").value();
  const TemporaryFolder folder;
  const auto other = open_or_die(folder.file("other.db"));
  EXPECT_TRUE(other->adopt(session).value());
  EXPECT_FALSE(other->adopt(session).value()) << "nothing new";
  EXPECT_EQ(other->turns("s").value(), store_->turns("s").value());
  EXPECT_TRUE(other->is_private("s").value());
  EXPECT_EQ(other->decision("hd-2")->reasons, (Texts{std::string(kReasonAdopted)}));
  std::vector<chat::Message> next = {user("q1"), assistant("a1"), user("q2"), assistant("a2"), user("q3")};
  EXPECT_EQ(other->resolve(request_of(next)).value(), "s") << "found by its history";
  ASSERT_OK(other->append("s", request_of(next), "a3", trace_of("hd-9", {{"local", 2}})));
  // And home again: only what is new is added.
  session = other->load("s").value();
  EXPECT_TRUE(store_->adopt(session).value());
  EXPECT_EQ(contents(*store_, "s").size(), 6u);
  EXPECT_EQ(contents(*store_, "s"), contents(*other, "s"));
  // Both went on: neither loses its turns.
  append("s", {user("here")}, "a4");
  ASSERT_OK(other->append("s", request_of({user("there")}), "a5", trace_of("hd-10", {{"local", 2}})));
  const auto refused = store_->adopt(other->load("s").value());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(contents(*store_, "s").back(), "assistant:a4");
}

TEST_P(StoreTest, WhoBringsACapsuleLearnsNothingOfOtherTenants) {
  chat::Request request = request_of({user("q")});
  request.routing.tenant = "a";
  ASSERT_OK(store_->append("s", request, "hello", trace_of("hd-1", {{"local", 5}})));
  Session capsule = store_->load("s").value();
  capsule.head.tenant = "b";
  ASSERT_OK(store_->adopt(capsule));
  const std::string key = store_->key_of("b", "s").value();
  EXPECT_EQ(contents(*store_, key), contents(*store_, "s"));
  EXPECT_EQ(store_->head("s")->tenant, "a");
  EXPECT_EQ(store_->head(key)->tenant, "b");
  // The answer's id is a's, and stays it.
  EXPECT_EQ(store_->decision("hd-1")->session, "s");
  EXPECT_NE(store_->turns(key)->back().decision_id, "hd-1");
  EXPECT_EQ(store_->decision(store_->turns(key)->back().decision_id)->session, key);
  EXPECT_FALSE(store_->adopt(capsule).value()) << "nothing new";
}

TEST_P(StoreTest, WhatASessionCostIsCarriedAndCountedOnce) {
  chat::Trace trace = trace_of("hd-1", {{"cloud", 1}});
  trace.upstream_tokens = 100;
  trace.upstream_nanos = 7;
  ASSERT_OK(store_->append("s", request_of({user("q")}), "a", trace));
  const TemporaryFolder folder;
  const auto other = open_or_die(folder.file("other.db"));
  ASSERT_OK(other->adopt(store_->load("s").value()));
  EXPECT_EQ(other->head("s")->used, (Used{100, 7}));
  EXPECT_EQ(tokens_spent_since(*other, 0), 0) << "it was not spent there";
  trace.id = "hd-2";
  ASSERT_OK(other->append("s", request_of({user("r")}), "b", trace));
  EXPECT_EQ(other->head("s")->used, (Used{200, 14}));
  ASSERT_OK(store_->adopt(other->load("s").value()));
  EXPECT_EQ(store_->head("s")->used, (Used{200, 14}));
  EXPECT_EQ(tokens_spent_since(*store_, 0), 100);
}

}  // namespace
}  // namespace hedge::session
