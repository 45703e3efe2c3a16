// HTTP itself over real sockets: limits, keep-alive, guards, and the routes that make no answer.
#include "server/server_fixture.h"
#include "server/status.h"

namespace hedge::server {
namespace {

using Http = ServerTest;

TEST_F(Http, HealthIndexAndModels) {
  with_upstream = true;
  start();
  EXPECT_EQ(ask_json(get("/health"))["status"], "ok");
  EXPECT_EQ(ask_json(get("/v1/health"))["status"], "ok");
  EXPECT_EQ(ask_json(get("/"))["name"], "hedge");
  const Json models = ask_json(get("/v1/models"));
  EXPECT_EQ(models["data"][0]["id"], "fake");
  EXPECT_EQ(models["data"][0]["max_model_len"], 128);
  EXPECT_EQ(models["data"][1]["id"], "org/big");
  EXPECT_EQ(ask_json(get("/v1/models/fake"))["id"], "fake");
  EXPECT_EQ(ask_json(get("/v1/models/org/big"))["owned_by"], "cloud");
  EXPECT_EQ(ask_json(get("/v1/models/org%2Fbig"))["owned_by"], "cloud");
  EXPECT_EQ(ask_json(get("/v1/models/nope"), 404)["error"]["code"], "model_not_found");
}

TEST_F(Http, MethodsAndPaths) {
  start();
  const Response head = ask("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n", true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), std::to_string(std::string_view(R"({"status":"ok"})").size()));
  const Response options_reply = ask("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(options_reply.status, 204);
  EXPECT_EQ(options_reply.headers.at("allow"), "POST, OPTIONS");
  EXPECT_FALSE(options_reply.headers.contains("access-control-allow-origin"));
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);
  for (const char* method : {"GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "BREW"}) {
    const Response wrong = ask(std::string(method) + " /tokenize HTTP/1.1\r\nHost: localhost\r\n\r\n",
                               std::string_view(method) == "HEAD");
    EXPECT_EQ(wrong.status, 405) << method;
    EXPECT_EQ(wrong.headers.at("allow"), "POST, OPTIONS");
  }
  EXPECT_EQ(ask_json(get("/nope"), 404)["error"]["code"], "not_found");
  EXPECT_EQ(ask_json(get("/v1/models/"), 404)["error"]["code"], "not_found");
  EXPECT_EQ(ask(get("/health?probe=1")).status, 200);
  EXPECT_EQ(ask(get("http://localhost/health")).status, 200);
  EXPECT_EQ(ask(get("/%zz")).status, 400);
}

TEST_F(Http, KeepAliveAndPipelining) {
  start();
  TestClient client(port());
  for (int i = 0; i < 3; ++i) {
    client.send(get("/health"));
    ASSERT_EQ(client.read_response()->status, 200);
  }
  // Two at once, the first of which takes another thread.
  client.send(post("/v1/chat/completions", kChat) + post("/tokenize", R"({"content":"ab"})") +
              get("/health"));
  EXPECT_NE(client.read_response()->body.find("Hello, world"), std::string::npos);
  EXPECT_EQ(client.read_response()->body, R"({"tokens":[97,98]})");
  EXPECT_EQ(client.read_response()->body, R"({"status":"ok"})");
  client.send(get("/health", "Connection: close\r\n"));
  const auto last = client.read_response();
  EXPECT_EQ(last->headers.at("connection"), "close");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(Http, AheadBytesDuringAnAnswerAreKept) {
  backend.manual();
  start();
  TestClient client(port());
  client.send(post("/v1/chat/completions", kChat));
  const auto script = backend.wait_stream(0);
  client.send(get("/health"));  // Sent while the first is being answered.
  script->push(chat::Started{"local", "fake", 3, 0});
  script->finish();
  EXPECT_EQ(client.read_response()->status, 200);
  EXPECT_EQ(client.read_response()->body, R"({"status":"ok"})");
}

TEST_F(Http, OldHttp) {
  start();
  TestClient plain(port());
  plain.send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(plain.read_response()->status, 200);
  EXPECT_TRUE(plain.closed_by_server());
  TestClient stream(port());
  const std::string body = kChatStream;
  stream.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  const auto response = stream.read_response();
  ASSERT_TRUE(response);
  EXPECT_FALSE(response->headers.contains("transfer-encoding"));
  EXPECT_EQ(stream_text(stream_objects(response->body)), "Hello, world");
}

TEST_F(Http, HalfClosedClientsGetTheirReply) {
  start();
  for (const std::string& request :
       {get("/health"), get("/metrics"), post("/tokenize", R"({"content":"ab"})")}) {
    TestClient client(port());
    client.send(request);
    client.finish_sending();
    const auto response = client.read_response();
    ASSERT_TRUE(response) << request;
    EXPECT_EQ(response->status, 200);
  }
}

TEST_F(Http, ExpectContinue) {
  start();
  TestClient client(port());
  const std::string body = kChat;
  client.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_EQ(client.read_head()->status, 100);
  client.send(body);
  EXPECT_EQ(client.read_response()->status, 200);
}

TEST_F(Http, SlowAndSilentClientsAreCut) {
  options.header_timeout_ms = 50;
  options.idle_timeout_ms = 50;
  start();
  TestClient silent(port());
  EXPECT_TRUE(silent.closed_by_server());
  TestClient half(port());
  half.send("GET /health HTTP/1.1\r\nHost: loc");
  EXPECT_TRUE(half.closed_by_server());
  TestClient idle(port());
  idle.send(get("/health"));
  ASSERT_EQ(idle.read_response()->status, 200);
  EXPECT_TRUE(idle.closed_by_server());
}

TEST_F(Http, TooLargeIsRefused) {
  options.body_bytes_max = 1000;
  start();
  EXPECT_EQ(ask(post("/tokenize", std::string(1001, ' '))).status, 413);
  EXPECT_EQ(ask(post("/tokenize", R"({"content":""})" + std::string(900, ' '))).status, 200);
  TestClient chunked(port());
  chunked.send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" +
               std::string(2048, ' ') + "\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.read_response()->status, 413);
  // A client that is still sending sees the answer, not a reset.
  TestClient sending(port());
  const std::string large(900000, ' ');
  sending.send(post("/tokenize", large));
  EXPECT_EQ(sending.read_response()->status, 413);
  EXPECT_EQ(ask(get("/health", "X-Long: " + std::string(20000, 'x') + "\r\n")).status, 431);
  EXPECT_EQ(Json::parse(ask(post("/tokenize", std::string(1001, ' '))).body)["error"]["code"],
            "body_too_large");
}

// A client that sends all of a body before it reads, as Python's http.client does, gets to the reply: bytes
// that nobody takes any more would give it a broken pipe. Far more than the sockets' buffers hold.
TEST_F(Http, ClientsThatSendAllOfATooLargeBodyGetTheirReply) {
  options.body_bytes_max = 1000;
  start();
  const std::string large(24u << 20, ' ');
  for (const char* headers : {"", "Connection: close\r\n"}) {
    TestClient client(port());
    EXPECT_TRUE(client.send(post("/tokenize", large, headers)));
    const auto response = client.read_response();
    ASSERT_TRUE(response);
    EXPECT_EQ(response->status, 413);
    EXPECT_EQ(response->headers.at("connection"), "close");
  }
  TestClient chunked(port());
  EXPECT_TRUE(chunked.send(
      "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1800000\r\n" + large +
      "\r\n0\r\n\r\n"));
  EXPECT_EQ(chunked.read_response()->status, 413);
}

TEST_F(Http, CompressedBodiesAreRefused) {
  start();
  const Response gzip = ask(post("/tokenize", R"({"content":""})", "Content-Encoding: gzip\r\n"));
  EXPECT_EQ(gzip.status, 415);
  EXPECT_EQ(Json::parse(gzip.body)["error"]["code"], "unsupported_content_encoding");
  EXPECT_EQ(ask(post("/tokenize", R"({"content":""})", "Content-Encoding: Identity\r\n")).status, 200);
}

TEST_F(Http, BadHttpGets400) {
  start();
  for (const char* bad : {
           "NONSENSE\r\n\r\n",
           "GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
           "GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
           "GET /health HTTP/1.1\r\nHost localhost\r\n\r\n",
           "GET /health HTTP/1.1\r\n\r\n",
           "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
           "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
           "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
           "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
           "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: "
           "chunked\r\n\r\n0\r\n\r\n",
           "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
           "\x16\x03\x01\x02\r\n\r\n",
       }) {
    TestClient client(port());
    client.send(bad);
    const auto response = client.read_response();
    ASSERT_TRUE(response) << bad;
    EXPECT_EQ(response->status, 400) << bad;
    EXPECT_TRUE(response->headers.at("connection") == "keep-alive" || client.closed_by_server()) << bad;
  }
}

TEST_F(Http, BadJsonGets400) {
  start();
  for (const char* path :
       {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/apply-template"}) {
    for (const std::string& body :
         {std::string(), std::string("{"), std::string("[]"), std::string(100000, '['),
          std::string("{\"a\":\"\xff\"}"), std::string(1, '\0')}) {
      const Json error = ask_json(post(path, body), 400)["error"];
      EXPECT_EQ(error["type"], "invalid_request_error") << path;
      EXPECT_FALSE(error["message"].get<std::string>().empty());
    }
  }
  EXPECT_EQ(ask_json(post("/v1/chat/completions", R"({"messages":"x"})"), 400)["error"]["param"], "messages");
}

TEST_F(Http, ConnectionLimit) {
  options.connections_max = 2;
  start();
  TestClient first(port());
  TestClient second(port());
  for (TestClient* client : {&first, &second}) {
    client->send(get("/health"));
    ASSERT_EQ(client->read_response()->status, 200);
  }
  TestClient third(port());
  const auto refused = third.read_response();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 503);
  EXPECT_EQ(refused->headers.at("retry-after"), "1");
}

TEST_F(Http, HostAndOriginAreChecked) {
  start();
  for (const char* host : {"localhost:8080", "127.0.0.1", "[::1]:80"}) {
    EXPECT_EQ(ask("GET /health HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n").status, 200) << host;
  }
  EXPECT_EQ(ask("GET /health HTTP/1.1\r\nHost: rebound.example:8080\r\n\r\n").status, 403);
  EXPECT_EQ(ask(get("/health", "Origin: http://localhost\r\n")).status, 200);
  EXPECT_EQ(ask(get("/health", "Origin: http://evil.example\r\n")).status, 403);
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat, "Origin: null\r\n")).status, 403);
}

TEST_F(Http, ApiKey) {
  options.api_key = "secret";
  start();
  for (const char* open : {"/health", "/v1/health", "/"}) EXPECT_EQ(ask(get(open)).status, 200) << open;
  for (const char* closed :
       {"/metrics", "/v1/models", "/v1/hedge/decisions/x", "/v1/hedge/sessions/x", "/v1/hedge/status"}) {
    const Response response = ask(get(closed));
    EXPECT_EQ(response.status, 401) << closed;
    EXPECT_EQ(Json::parse(response.body)["error"]["code"], "invalid_api_key");
    EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
  }
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat)).status, 401);
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat, "Authorization: Bearer wrong\r\n")).status, 401);
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat, "Authorization: Bearer secret\r\n")).status, 200);
  EXPECT_EQ(ask(post("/v1/chat/completions", kChat, "x-api-key: secret\r\n")).status, 200);
}

TEST_F(Http, TokensAndTemplate) {
  start();
  EXPECT_EQ(ask_json(post("/tokenize", R"({"content":"a","add_special":true,"with_pieces":true})")),
            Json::parse(R"({"tokens":[{"id":97,"piece":"a"},{"id":256,"piece":"<end>"}]})"));
  EXPECT_EQ(ask_json(post("/detokenize", R"({"tokens":[97,255,256]})"))["content"], "a\xef\xbf\xbd<end>");
  EXPECT_EQ(ask_json(post("/detokenize", R"({"tokens":[97,257]})"), 400)["error"]["param"], "tokens[1]");
  EXPECT_EQ(ask_json(post("/apply-template", kChat))["prompt"], "<Hi>A:");
  const char* alone = R"({"messages":[{"role":"assistant","content":"Once"}]})";
  EXPECT_EQ(ask_json(post("/apply-template", alone))["prompt"], "A:Once");
  EXPECT_EQ(ask_json(post("/apply-template", R"({"messages":[{"role":"tool","content":"x"}]})"),
                     400)["error"]["param"],
            "messages");
}

TEST_F(Http, DecisionsAndSessions) {
  with_store = true;
  start();
  const Response answer = ask(post("/v1/chat/completions", kChat, "x-hedge-session: s-1\r\n"));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string id = answer.headers.at("x-hedge-decision");
  const Json body = Json::parse(answer.body);
  EXPECT_EQ(body["hedge"]["session"], "s-1");
  const Json decision = ask_json(get("/v1/hedge/decisions/" + id));
  EXPECT_EQ(decision["id"], id);
  EXPECT_EQ(decision["segments"], body["hedge"]["segments"]);
  EXPECT_TRUE(decision.contains("steps"));
  const Json session = ask_json(get("/v1/hedge/sessions/s-1"));
  EXPECT_EQ(session["private"], false);
  ASSERT_EQ(session["turns"].size(), 2u);
  EXPECT_EQ(session["turns"][0]["content"], "Hi");
  EXPECT_EQ(session["turns"][1]["content"], "Hello, world");
  EXPECT_EQ(session["turns"][1]["decision"], id);
  EXPECT_EQ(session["turns"][1]["segments"][0]["bytes"], 12);
  for (const char* path :
       {"/v1/hedge/sessions/none", "/v1/hedge/decisions/hd-none", "/v1/hedge/sessions/a%20b"}) {
    EXPECT_EQ(ask_json(get(path), 404)["error"]["code"], "not_found") << path;
  }
  EXPECT_EQ(ask(get("/v1/hedge/sessions/" + std::string(5000, 'x'))).status, 404);
  EXPECT_EQ(ask_json(post("/v1/chat/completions", kChat, "x-hedge-session: a b\r\n"), 400)["error"]["param"],
            "x-hedge-session");
}

TEST_F(Http, ATenantSeesItsOwnSessionsAlone) {
  with_store = true;
  options.api_key = "device";
  options.tenants = {{"a", "key-a"}, {"b", "key-b"}};
  start();
  const auto key = [](const std::string& name) { return "x-api-key: " + name + "\r\n"; };
  const auto put = [&](const std::string& path, const std::string& body, const std::string& name) {
    return "PUT " + path + " HTTP/1.1\r\nHost: localhost\r\n" + key(name) +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  const auto erase = [&](const std::string& path, const std::string& name) {
    return "DELETE " + path + " HTTP/1.1\r\nHost: localhost\r\n" + key(name) + "\r\n";
  };
  const Response answer = ask(post("/v1/chat/completions", kChat, key("key-a") + "x-hedge-session: s-1\r\n"));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const std::string decision = "/v1/hedge/decisions/" + answer.headers.at("x-hedge-decision");
  for (const std::string& path :
       {std::string("/v1/hedge/sessions/s-1"), std::string("/v1/hedge/sessions/s-1/capsule"), decision}) {
    EXPECT_EQ(ask(get(path, key("key-a"))).status, 200) << path;
    EXPECT_EQ(ask(get(path, key("device"))).status, 200) << path;
    EXPECT_EQ(ask(get(path, key("key-b"))).status, 404) << path;
  }
  EXPECT_EQ(ask(post(decision + "/feedback", R"({"signal":"thumbs_up"})", key("key-b"))).status, 404);
  EXPECT_EQ(ask_json(get("/v1/hedge/sessions", key("key-b")))["sessions"].size(), 0u);
  EXPECT_EQ(ask_json(get("/v1/hedge/sessions", key("key-a")))["sessions"][0]["id"], "s-1");
  EXPECT_EQ(ask_json(post("/v1/chat/completions", kChat, key("device") + "x-hedge-session: s-1\r\n"),
                     400)["error"]["param"],
            "hedge.session");
  EXPECT_EQ(ask(erase("/v1/hedge/sessions/s-1", "key-b")).status, 404);

  // An id that another tenant has is as free to b as any, in its answers, too.
  const std::string capsule = ask(get("/v1/hedge/sessions/s-1/capsule", key("key-a"))).body;
  const Json own = ask_json(post("/v1/chat/completions", kChat, key("key-b") + "x-hedge-session: s-1\r\n"));
  EXPECT_EQ(own["hedge"]["session"], "s-1");
  EXPECT_EQ(
      ask_json(get("/v1/hedge/decisions/" + own["hedge"]["id"].get<std::string>(), key("key-b")))["session"],
      "s-1");
  EXPECT_EQ(ask_json(get("/v1/hedge/sessions", key("key-b")))["sessions"][0]["id"], "s-1");
  EXPECT_EQ(ask_json(get("/v1/hedge/sessions/s-1", key("key-b")))["id"], "s-1");
  EXPECT_EQ(ask_json(get("/v1/hedge/sessions/s-1/capsule", key("key-b")))["id"], "s-1");
  EXPECT_EQ(ask(get("/v1/hedge/sessions/b/s-1", key("device"))).status, 200)
      << "whose it is stands in its key";
  EXPECT_EQ(ask(erase("/v1/hedge/sessions/s-1", "key-b")).status, 200);
  EXPECT_EQ(ask(put("/v1/hedge/sessions/s-1/capsule", capsule, "key-b")).status, 200);
  EXPECT_EQ(ask(get("/v1/hedge/sessions/s-1", key("key-a"))).status, 200) << "a's is there still";
  EXPECT_EQ(ask(erase("/v1/hedge/sessions/s-1", "key-b")).status, 200);
  EXPECT_EQ(ask(erase("/v1/hedge/sessions/s-1", "key-a")).status, 200);
  EXPECT_EQ(ask(get("/v1/hedge/sessions/s-1", key("device"))).status, 404);
  EXPECT_EQ(ask(put("/v1/hedge/sessions/other/capsule", capsule, "key-b")).status, 400);
  EXPECT_EQ(ask(put("/v1/hedge/sessions/s-1/capsule", capsule.substr(1), "key-b")).status, 400);
  const Json adopted = ask_json(put("/v1/hedge/sessions/s-1/capsule", capsule, "key-b"));
  EXPECT_EQ(adopted["turns"], 2);
  EXPECT_EQ(adopted["new"], true);
  EXPECT_EQ(ask(get("/v1/hedge/sessions/s-1", key("key-b"))).status, 200) << "of whoever brought it";
  EXPECT_EQ(ask(get("/v1/hedge/sessions/s-1", key("key-a"))).status, 404);
}

TEST_F(Http, ChoicesShareOneDerivedSession) {
  with_store = true;
  start();
  const Json body =
      ask_json(post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"n":3})"));
  const std::string session = body["hedge"]["session"];
  EXPECT_FALSE(session.empty());
  for (const Json& choice : body["choices"]) EXPECT_EQ(choice["hedge"]["session"], session);
  const Json stored = ask_json(get("/v1/hedge/sessions/" + session));
  int answers = 0;
  for (const Json& turn : stored["turns"]) answers += turn["role"] == "assistant";
  EXPECT_EQ(answers, 3);
}

TEST_F(Http, MetricsAreWellFormed) {
  with_upstream = true;
  start();
  EXPECT_EQ(ask(post("/v1/chat/completions", kChatStream)).status, 200);
  EXPECT_EQ(ask(get("/no\"such")).status, 404);
  const Response response = ask(get("/metrics"));
  EXPECT_EQ(response.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  const std::string& text = response.body;
  EXPECT_NE(text.find("hedge_http_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1\n"),
            std::string::npos);
  EXPECT_NE(text.find("hedge_http_requests_total{route=\"other\",status=\"404\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("hedge_first_token_seconds_count 1\n"), std::string::npos);
  EXPECT_NE(text.find("hedge_answer_seconds_count 1\n"), std::string::npos);
  EXPECT_NE(text.find("hedge_prompt_tokens_total 7\n"), std::string::npos);
  EXPECT_NE(text.find("hedge_upstream_available 1\n"), std::string::npos);
  // Each sample belongs to a family that was announced with HELP and TYPE.
  std::string family;
  size_t samples = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t end = text.find('\n', position);
    ASSERT_NE(end, std::string::npos);
    const std::string line = text.substr(position, end - position);
    position = end + 1;
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(family.starts_with("hedge_"));
      EXPECT_TRUE(text.substr(position).starts_with("# TYPE " + family + " "));
    } else if (!line.starts_with("#")) {
      EXPECT_TRUE(line.starts_with(family)) << line;
      ++samples;
    }
  }
  EXPECT_GT(samples, 40u);
}

TEST_F(Http, StatusSaysWhatIsGoingOn) {
  with_upstream = true;
  backend.on_start = [](const chat::Request&, StreamScript& script) -> Status {
    script.push(chat::Started{"local", "fake", 3, 1});
    script.text("Hello");
    auto trace = std::make_shared<chat::Trace>();
    trace->route = "local";
    trace->reasons = {"gate.personal_data"};
    trace->facts = {{"first_text_ms", {}, 40, false}};
    trace->total_ms = 90;
    chat::Done done;
    done.trace = std::move(trace);
    script.push(std::move(done));
    return {};
  };
  start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(post("/v1/chat/completions", kChat)).status, 200);
  EXPECT_EQ(ask(get("/nope")).status, 404);
  const Response response = ask(get("/v1/hedge/status"));
  EXPECT_EQ(response.status, 200);
  const auto status = parse_status(response.body);
  ASSERT_TRUE(status.ok()) << status.error().detail;
  EXPECT_EQ(status->model, "fake");
  EXPECT_EQ(status->context_tokens, 128);
  EXPECT_EQ(status->slots, 4);
  EXPECT_GT(status->uptime_s, 0);
  EXPECT_EQ(status->http.requests, 4);
  EXPECT_EQ(status->http.refused, 1);
  EXPECT_EQ(status->http.failed, 0);
  EXPECT_EQ(status->http.answers_max, options.requests_max);
  ASSERT_EQ(status->running.size(), 1U);
  EXPECT_EQ(status->running[0].answer_tokens, 5U);
  EXPECT_EQ(status->recent.local, 3);
  ASSERT_EQ(status->recent.reasons.size(), 1U);
  EXPECT_EQ(status->recent.reasons[0].name, "gate.personal_data");
  EXPECT_EQ(status->recent.reasons[0].count, 3);
  EXPECT_EQ(status->recent.first_text_p50_ms, 40);
  EXPECT_EQ(status->recent.total_p95_ms, 90);
  ASSERT_TRUE(status->upstream.has_value());
  EXPECT_EQ(status->upstream->name, "cloud");
  EXPECT_TRUE(status->upstream->available);
  EXPECT_GT(status->device.resident_bytes, 0);
}

TEST_F(Http, ATenantSeesNoBudgetButItsOwn) {
  options.api_key = "secret";
  options.tenants = {{"a", "key-a"}, {"b", "key-b"}};
  route::Policy policy;
  policy.tenants = {{"a", 100, 0, {}}, {"b", 200, 0, {}}};
  const auto its_router = route::Router::create(backend, nullptr, policy);
  its_router->seed_upstream_today({7, 0}, "b");
  router = its_router.get();
  start();
  const auto budgets = [&](const std::string& key) {
    std::string said;
    const auto status = parse_status(ask(get("/v1/hedge/status", "x-api-key: " + key + "\r\n")).body);
    for (const BudgetStatus& budget : status->budgets)
      said += budget.tenant + ":" + std::to_string(budget.tokens) + " ";
    return said;
  };
  EXPECT_EQ(budgets("key-a"), "a:0 ");
  EXPECT_EQ(budgets("key-b"), "b:7 ");
  EXPECT_EQ(budgets("secret"), ":7 a:0 b:7 ");
  stop();
}

TEST(StatusJson, ComesBackAsItWasAndRefusesWhatItIsNot) {
  StatusReport report;
  report.version = "1";
  report.engine.kv_bytes_max = 7;
  report.running = {{1, 2, 3, 4, 5.5, 6.5}, {}};
  report.router.escalated_mid = 9;
  report.recent.reasons = {{"a", 2}};
  report.budgets = {{"", 1, 2, 0.5, 1.5}, {"office", 3, 4, 0, 0}};
  report.device.on_battery = false;
  const std::string text = status_json(report);
  const auto back = parse_status(text);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(status_json(*back), text);
  EXPECT_EQ(back->running[0].tokens_per_second, 5.5);
  EXPECT_FALSE(back->upstream.has_value());
  EXPECT_EQ(back->device.on_battery, false);
  EXPECT_FALSE(back->device.temperature_c.has_value());
  EXPECT_TRUE(parse_status(R"({"version": "1", "http": {}, "engine": {}})").ok());
  for (const char* wrong :
       {"", "[]", "3", "<html></html>", "{}", R"({"status": "ok"})", R"({"version": "1"})",
        R"({"version": "1", "http": {}, "engine": {}, "slots": "4"})", R"({"model": 3})",
        R"({"running": [1]})", R"({"http": []})", R"({"budgets": {"tenant": ""}})",
        R"({"upstream": {"available": 1}})"})
    EXPECT_FALSE(parse_status(wrong).ok()) << wrong;
}

TEST(RecentAnswersTest, ForgetsWhatIsOldAndWhatIsTooMuch) {
  Recent recent;
  const auto start = SteadyClock::now();
  chat::Trace trace;
  trace.route = "upstream";
  trace.reasons = {"formula.net"};
  recent.note(trace, start);
  trace.route = "mixed";
  trace.reasons = {"confidence.mid", "formula.net"};
  recent.note(trace, start + Recent::kWindow);
  EXPECT_EQ(recent.look(start + Recent::kWindow).upstream, 1);
  EXPECT_EQ(recent.look(start + Recent::kWindow).reasons[0].name, "formula.net");
  const RecentAnswers later = recent.look(start + Recent::kWindow + Milliseconds(1));
  EXPECT_EQ(later.upstream, 0);
  EXPECT_EQ(later.mixed, 1);
  for (size_t i = 0; i < 2 * Recent::kAnswersMax; ++i) recent.note(trace, start);
  EXPECT_EQ(recent.look(start).mixed, static_cast<int64_t>(Recent::kAnswersMax));
}

// What comes while the model is loaded waits for it; only /health and / answer at once.
TEST_F(Http, RequestsWaitForTheModel) {
  listen();
  EXPECT_EQ(ask_json(get("/health"), 503)["error"]["code"], "loading");
  EXPECT_EQ(ask(get("/health")).headers.at("retry-after"), "1");
  EXPECT_EQ(ask(get("/")).status, 200);
  TestClient early(port());
  ASSERT_TRUE(early.send(get("/v1/models")));
  EXPECT_EQ(ask_json(get("/health"), 503)["error"]["code"], "loading");
  attach();
  const auto response = early.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(ask(get("/health")).status, 200);
  EXPECT_EQ(ask(get("/v1/models")).status, 200);
}

TEST_F(Http, AModelThatDoesNotLoadRefusesWhatWaits) {
  listen();
  TestClient early(port());
  ASSERT_TRUE(early.send(get("/v1/models")));
  server().give_up();
  const auto response = early.read_response();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 503);
  EXPECT_EQ(ask_json(get("/health"), 503)["error"]["code"], "unavailable");
  EXPECT_EQ(ask(get("/v1/models")).status, 503);
}

TEST_F(Http, ListenSaysWhatIsWrong) {
  start();
  Options taken = options;
  taken.port = port();
  const auto second = Server::listen(taken);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kIo);
  EXPECT_NE(second.error().detail.find("127.0.0.1 port " + std::to_string(port())), std::string::npos);
  Options nowhere = options;
  nowhere.host = "203.0.113.7";
  EXPECT_EQ(Server::listen(nowhere).error().code, ErrorCode::kIo);
}

TEST_F(Http, StopBeforeRunReturnsAtOnce) {
  auto listening = Server::listen(options);
  ASSERT_TRUE(listening.ok());
  (*listening)->stop();
  (*listening)->run();
}

}  // namespace
}  // namespace hedge::server
