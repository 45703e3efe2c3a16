// Answers over real sockets: streams and whole ones, errors before and in the middle, clients that leave.
#include "server/server_fixture.h"

namespace hedge::server {
namespace {

using Answers = ServerTest;

TEST_F(Answers, WholeChat) {
  start();
  const Response response = ask(post("/v1/chat/completions", kChat));
  ASSERT_EQ(response.status, 200) << response.body;
  const Json body = Json::parse(response.body);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "Hello, world");
  EXPECT_EQ(body["model"], "fake");
  EXPECT_EQ(body["usage"]["total_tokens"], 5);
  EXPECT_EQ(body["hedge"]["id"], response.headers.at("x-hedge-decision"));
  EXPECT_EQ(backend.request(0).id, response.headers.at("x-hedge-decision"));
  EXPECT_EQ(backend.request(0).messages[0].content, "Hi");
}

TEST_F(Answers, EventsArriveAsTheyAreMade) {
  backend.manual();
  start();
  TestClient client(port());
  client.send(post("/v1/chat/completions", kChatStream));
  const auto script = backend.wait_stream(0);
  script->push(chat::Started{"local", "fake", 3, 0});
  const auto head = client.read_head();
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(head->headers.at("x-hedge-decision"), backend.request(0).id);
  // Each piece is read before the next one is made.
  for (const char* piece : {"One", "Two", "Three"}) {
    script->text(piece);
    ASSERT_TRUE(client.read_stream_until(piece));
  }
  script->finish();
  ASSERT_TRUE(client.read_stream_until("[DONE]\n\n"));
  EXPECT_EQ(client.read_chunk(), "");
  EXPECT_EQ(stream_text(stream_objects(client.stream())), "OneTwoThree");
  EXPECT_TRUE(script->wait_destroyed());
  // The connection goes on after a stream.
  client.send(get("/health"));
  EXPECT_EQ(client.read_response()->status, 200);
}

TEST_F(Answers, HeadComesAfterAWhileWithoutEvents) {
  options.head_wait_ms = 10;
  backend.manual();
  start();
  TestClient client(port());
  client.send(post("/v1/chat/completions", kChatStream));
  EXPECT_EQ(client.read_head()->status, 200);
  backend.wait_stream(0)->finish();
  EXPECT_TRUE(client.read_stream_until("[DONE]"));
}

TEST_F(Answers, SilenceIsFilledWithPings) {
  options.ping_ms = 10;
  backend.manual();
  start();
  TestClient client(port());
  client.send(post("/v1/chat/completions", kChatStream));
  const auto script = backend.wait_stream(0);
  script->push(chat::Started{"local", "fake", 3, 0});
  ASSERT_TRUE(client.read_head());
  ASSERT_TRUE(client.read_stream_until(": ping\n\n: ping\n\n"));
  script->finish();
  EXPECT_TRUE(client.read_stream_until("[DONE]"));
}

TEST_F(Answers, ErrorsBeforeTheFirstEventHaveTheirStatus) {
  const std::pair<ErrorCode, int> cases[] = {
      {ErrorCode::kContextExceeded, 400}, {ErrorCode::kInvalidArgument, 400}, {ErrorCode::kUnavailable, 503},
      {ErrorCode::kPermission, 503},      {ErrorCode::kExhausted, 429},       {ErrorCode::kCorrupt, 502},
      {ErrorCode::kTimeout, 504},         {ErrorCode::kInternal, 500},
  };
  bool at_start = false;
  Error error;
  backend.on_start = [&](const chat::Request&, StreamScript& script) -> Status {
    if (at_start) return error;
    // A stream's own kTimeout would mean "nothing yet".
    script.fail(error);
    return {};
  };
  start();
  for (const auto& [code, status] : cases) {
    for (const bool when : {true, false}) {
      if (code == ErrorCode::kTimeout && !when) continue;
      for (const char* body : {kChat, kChatStream}) {
        at_start = when;
        error = make_error(code, "expected 10, got 20", "messages");
        error.retry_after_ms = code == ErrorCode::kExhausted ? 2500 : 0;
        const Response response = ask(post("/v1/chat/completions", body));
        EXPECT_EQ(response.status, status) << to_string(code) << body;
        EXPECT_EQ(Json::parse(response.body)["error"]["message"], "messages: expected 10, got 20");
        EXPECT_EQ(Json::parse(response.body)["error"]["param"], "messages");
        EXPECT_TRUE(response.headers.contains("x-hedge-decision"));
        EXPECT_EQ(response.headers.contains("retry-after"), status == 429);
        if (status == 429) {
          EXPECT_EQ(response.headers.at("retry-after"), "3");
        }
      }
    }
  }
}

TEST_F(Answers, ErrorsInMidStreamEndIt) {
  backend.on_start = [](const chat::Request&, StreamScript& script) -> Status {
    script.push(chat::Started{"local", "fake", 3, 0});
    script.text("Half");
    script.fail(make_error(ErrorCode::kUnavailable, "the upstream broke off"));
    return {};
  };
  start();
  const Response stream = ask(post("/v1/chat/completions", kChatStream));
  EXPECT_EQ(stream.status, 200);
  const auto objects = stream_objects(stream.body);
  EXPECT_EQ(stream_text(objects), "Half");
  ASSERT_GE(objects.size(), 2u);
  EXPECT_EQ(objects[objects.size() - 2]["error"]["message"], "the upstream broke off");
  EXPECT_EQ(objects.back(), "[DONE]");
  // Whole answers lose nothing by a proper status.
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat)).status, 503);
}

TEST_F(Answers, ClientThatLeavesFreesItsStream) {
  backend.manual();
  start();
  size_t index = 0;
  double fastest_s = 10;
  for (const bool begun : {false, true}) {
    for (const char* body : {kChat, kChatStream}) {
      TestClient client(port());
      client.send(post("/v1/chat/completions", body));
      const auto script = backend.wait_stream(index++);
      if (begun) script->push(chat::Started{"local", "fake", 3, 0});
      if (begun && body == kChatStream) {
        EXPECT_TRUE(client.read_head());
      }
      const auto left = SteadyClock::now();
      client.close();
      EXPECT_TRUE(script->wait_destroyed());
      fastest_s = std::min(fastest_s, seconds_since(left));
      EXPECT_TRUE(script->cancelled());
    }
  }
  EXPECT_LT(fastest_s, 0.1);  // One of four may be late on a busy machine, all of them only by a fault.
  EXPECT_NE(ask(get("/metrics")).body.find("hedge_http_clients_gone_total 4\n"), std::string::npos);
}

TEST_F(Answers, ClientThatReadsNothingIsCut) {
  options.write_timeout_ms = 200;
  backend.on_start = [](const chat::Request&, StreamScript& script) -> Status {
    script.push(chat::Started{"local", "fake", 3, 0});
    for (int i = 0; i < 4000; ++i) script.text(std::string(4096, 'x'));
    return {};
  };
  start();
  TestClient client(port(), 4096);
  client.send(post("/v1/chat/completions", kChatStream));
  EXPECT_TRUE(backend.wait_stream(0)->wait_cancelled());
  EXPECT_TRUE(backend.wait_stream(0)->wait_destroyed());
}

TEST_F(Answers, SlowReaderLosesNothing) {
  std::string expected;
  backend.on_start = [&](const chat::Request&, StreamScript& script) -> Status {
    script.push(chat::Started{"local", "fake", 3, 0});
    for (int i = 0; i < 500; ++i) {
      const std::string piece = std::to_string(i) + std::string(4000, 'y');
      expected += piece;
      script.text(piece);
    }
    script.finish();
    return {};
  };
  start();
  TestClient client(port(), 4096);
  client.send(post("/v1/chat/completions", kChatStream));
  const auto response = client.read_response();
  ASSERT_TRUE(response);
  EXPECT_EQ(stream_text(stream_objects(response->body)), expected);
}

TEST_F(Answers, TooManyGet429AndRoomComesBack) {
  options.requests_max = 2;
  backend.manual();
  start();
  TestClient first(port());
  TestClient second(port());
  first.send(post("/v1/chat/completions", kChat));
  const auto script = backend.wait_stream(0);
  second.send(post("/v1/chat/completions", kChat));
  backend.wait_stream(1);
  const Response refused = ask(post("/v1/chat/completions", kChat));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(Json::parse(refused.body)["error"]["code"], "rate_limit_exceeded");
  EXPECT_EQ(ask(get("/health")).status, 200);
  // Twenty in a row through the one free slot: it is free as soon as an answer is there.
  script->finish();
  ASSERT_EQ(first.read_response()->status, 200);
  backend.on_start = FakeBackend().on_start;
  for (int i = 0; i < 20; ++i) {
    first.send(post("/v1/chat/completions", kChat));
    ASSERT_EQ(first.read_response()->status, 200);
  }
}

TEST_F(Answers, ChoicesRunTogether) {
  backend.manual();
  start();
  const std::string body = R"({"messages":[{"role":"user","content":"Hi"}],"n":2,"seed":5,"stream":)";
  for (const bool stream : {false, true}) {
    TestClient client(port());
    client.send(post("/v1/chat/completions", body + (stream ? "true}" : "false}")));
    const size_t first = stream ? 2 : 0;
    const auto zero = backend.wait_stream(first);
    const auto one = backend.wait_stream(first + 1);
    EXPECT_EQ(backend.request(first + 1).sampling.seed, 6u);
    EXPECT_EQ(backend.request(first + 1).id, backend.request(first).id + "-1");
    // The second ends before the first begins.
    one->push(chat::Started{"local", "fake", 3, 0});
    one->text("B");
    one->finish();
    EXPECT_TRUE(one->wait_destroyed());
    zero->push(chat::Started{"local", "fake", 3, 0});
    zero->text("A");
    zero->finish();
    const auto response = client.read_response();
    ASSERT_TRUE(response);
    if (stream) {
      const auto objects = stream_objects(response->body);
      EXPECT_EQ(stream_text(objects, 0), "A");
      EXPECT_EQ(stream_text(objects, 1), "B");
      EXPECT_EQ(objects.back(), "[DONE]");
    } else {
      const Json json = Json::parse(response->body);
      EXPECT_EQ(json["choices"][0]["message"]["content"], "A");
      EXPECT_EQ(json["choices"][1]["message"]["content"], "B");
    }
  }
}

TEST_F(Answers, OneFailedChoiceEndsAll) {
  backend.manual();
  start();
  TestClient client(port());
  client.send(post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"n":3})"));
  const auto zero = backend.wait_stream(0);
  backend.wait_stream(2);
  backend.wait_stream(1)->fail(make_error(ErrorCode::kUnavailable, "gone"));
  EXPECT_EQ(client.read_response()->status, 503);
  EXPECT_TRUE(zero->wait_destroyed());
  EXPECT_TRUE(backend.wait_stream(2)->wait_destroyed());

  // And a choice that cannot even be started takes those before it along.
  int count = 0;
  backend.on_start = [&](const chat::Request&, StreamScript&) -> Status {
    if (++count == 3) return make_error(ErrorCode::kExhausted, "queue full");
    return {};
  };
  EXPECT_EQ(
      ask(post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"n":3})")).status,
      429);
  EXPECT_TRUE(backend.wait_stream(3)->wait_destroyed());
  EXPECT_TRUE(backend.wait_stream(4)->wait_destroyed());
}

TEST_F(Answers, MoreChoicesThanRoomAreRefused) {
  options.requests_max = 3;
  backend.manual();
  start();
  TestClient first(port());
  first.send(post("/v1/chat/completions", kChat));
  const auto busy = backend.wait_stream(0);
  const Response full =
      ask(post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"n":3})"));
  EXPECT_EQ(full.status, 429);  // Later there may be room.
  EXPECT_TRUE(full.headers.contains("retry-after"));
  busy->push(chat::Started{"local", "fake", 3, 0});
  busy->finish();
  EXPECT_EQ(first.read_response()->status, 200);
}

TEST_F(Answers, MoreChoicesThanCanEverFitAreAMistake) {
  options.requests_max = 4;
  engine_answers_max = 2;
  with_upstream = true;
  start();
  const auto chat = [](int n, const char* route) {
    return post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"n":)" +
                                            std::to_string(n) + R"(,"hedge":{"route":")" + route + "\"}}");
  };
  const Json error = ask_json(chat(5, "auto"), 400)["error"];
  EXPECT_EQ(error["param"], "n");
  EXPECT_EQ(error["message"],
            "n: expected at most 4 answers at once (prompts times n), as this server is configured; got 5");
  EXPECT_EQ(ask(chat(4, "auto")).status, 200);  // The upstream may take what the engine cannot.
  EXPECT_NE(ask_json(chat(3, "local"), 400)["error"]["message"].get<std::string>().find("at most 2 answers"),
            std::string::npos);
  EXPECT_EQ(ask(chat(2, "local")).status, 200);
  EXPECT_EQ(ask_json(post("/v1/completions", R"({"prompt":["a","b","c"],"n":2})"), 400)["error"]["param"],
            "n");
  EXPECT_EQ(ask_json(post("/v1/completions", R"({"prompt":["a","b","c","d","e"]})"), 400)["error"]["param"],
            "prompt");
}

TEST_F(Answers, SlotsComeBackForTheNextChoices) {
  options.requests_max = 2;
  start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(
        ask(post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"n":2})")).status,
        200);
  }
}

TEST_F(Answers, ManyClientsAtOnce) {
  start();
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      TestClient client(port());
      for (int k = 0; k < 10; ++k) {
        const bool stream = (i + k) % 2 == 0;
        client.send(post("/v1/chat/completions", stream ? kChatStream : kChat));
        const auto response = client.read_response();
        if (!response || response->status != 200) continue;
        const std::string text =
            stream ? stream_text(stream_objects(response->body))
                   : Json::parse(response->body)["choices"][0]["message"].value("content", "");
        if (text == "Hello, world") ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 80);
}

TEST_F(Answers, TextCompletions) {
  start();
  EXPECT_EQ(ask_json(post("/v1/completions", R"({"prompt":"Hi","echo":true})"))["choices"][0]["text"],
            "HiHello, world");
  EXPECT_TRUE(backend.request(0).raw);
  EXPECT_EQ(ask_json(post("/v1/completions", R"({"prompt":[72,105,256],"echo":true})"))["choices"][0]["text"],
            "Hi<end>Hello, world");
  EXPECT_EQ(backend.request(1).prompt_tokens, (std::vector<int32_t>{72, 105, 256}));
  EXPECT_EQ(ask_json(post("/v1/completions", R"({"prompt":["a","b"]})"))["choices"].size(), 2u);
  EXPECT_EQ(ask_json(post("/v1/completions", R"({"prompt":[5,257]})"), 400)["error"]["param"], "prompt");
}

TEST_F(Answers, ModelNames) {
  with_upstream = true;
  start();
  const auto ask_model = [&](const char* model) {
    return ask(post("/v1/chat/completions",
                    Json{{"model", model}, {"messages", {{{"role", "user"}, {"content", "x"}}}}}.dump()));
  };
  for (const char* model : {"", "default", "fake"}) {
    const Response response = ask_model(model);
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(Json::parse(response.body)["model"], "fake");
  }
  EXPECT_EQ(backend.request(0).routing.route, chat::Route::kAuto);
  EXPECT_EQ(Json::parse(ask_model("org/big").body)["model"], "org/big");
  EXPECT_EQ(backend.request(3).routing.route, chat::Route::kUpstream);
  const Response unknown = ask_model("gpt-9");
  EXPECT_EQ(unknown.status, 404);
  const Json error = Json::parse(unknown.body)["error"];
  EXPECT_EQ(error["code"], "model_not_found");
  EXPECT_NE(error["message"].get<std::string>().find("\"fake\""), std::string::npos);
  EXPECT_NE(error["message"].get<std::string>().find("\"org/big\""), std::string::npos);
  EXPECT_EQ(error["message"].get<std::string>().find("gpt-9"), std::string::npos);
}

TEST_F(Answers, StopLetsAnAnswerFinish) {
  options.stop_grace_ms = 10000;
  backend.manual();
  start();
  TestClient idle(port());
  idle.send(get("/health"));
  ASSERT_EQ(idle.read_response()->status, 200);
  TestClient client(port());
  client.send(post("/v1/chat/completions", kChatStream));
  const auto script = backend.wait_stream(0);
  script->push(chat::Started{"local", "fake", 3, 0});
  ASSERT_TRUE(client.read_head());
  server().stop();
  EXPECT_TRUE(idle.closed_by_server());  // So the gate is closed.
  script->text("Last words");
  script->finish();
  ASSERT_TRUE(client.read_stream_until("[DONE]"));
  EXPECT_EQ(stream_text(stream_objects(client.stream())), "Last words");
  EXPECT_TRUE(client.closed_by_server());
  stop();
}

TEST_F(Answers, StopEndsWhatDoesNotFinish) {
  options.stop_grace_ms = 10;
  backend.manual();
  start();
  TestClient streaming(port());
  streaming.send(post("/v1/chat/completions", kChatStream));
  backend.wait_stream(0)->push(chat::Started{"local", "fake", 3, 0});
  ASSERT_TRUE(streaming.read_head());
  TestClient waiting(port());
  waiting.send(post("/v1/chat/completions", kChat));
  backend.wait_stream(1);
  stop();
  ASSERT_TRUE(streaming.read_stream_until("[DONE]"));
  EXPECT_NE(streaming.stream().find("the server is stopping"), std::string::npos);
  EXPECT_EQ(waiting.read_response()->status, 503);
  EXPECT_TRUE(backend.wait_stream(0)->wait_destroyed());
}

}  // namespace
}  // namespace hedge::server
