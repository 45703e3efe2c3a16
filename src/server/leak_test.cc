// The leak rig: bodies of HTTP requests with a private value in every field, through the parser, the router
// and the network client, to an endpoint on loopback that keeps every byte that comes: request line, headers,
// body. With the class "local" nothing at all may come; with "mask" whatever comes may not hold the value,
// and the client must read its own text again. Clean requests must come, or the rig would prove nothing.
// HEDGE_LEAK_REQUESTS sets how many (a few hundred otherwise), HEDGE_LEAK_SEED the seed.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "api/dialect.h"
#include "api/way.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "route/router.h"
#include "server/test_fakes.h"
#include "upstream/openai_backend.h"

namespace hedge::server {
namespace {

using Json = nlohmann::json;

class Values {
 public:
  explicit Values(uint64_t seed) : rng_(seed) {}

  uint64_t below(uint64_t limit) { return rng_.below(limit); }

  // '#': a digit, '%': 1 to 9, '@': a small letter.
  std::string fill(std::string_view pattern) {
    std::string out;
    for (const char c : pattern) {
      if (c == '#')
        out.push_back(static_cast<char>('0' + below(10)));
      else if (c == '%')
        out.push_back(static_cast<char>('1' + below(9)));
      else if (c == '@')
        out.push_back(static_cast<char>('a' + below(26)));
      else
        out.push_back(c);
    }
    return out;
  }

  std::string card() {
    constexpr std::string_view kKinds[] = {"4##############", "51#############", "37############",
                                           "6011###########"};
    const std::string number = fill(kKinds[below(4)]);
    int sum = 0;
    for (size_t i = 0; i < number.size(); ++i) {
      const int digit = number[number.size() - 1 - i] - '0';
      sum += i % 2 == 0 ? (digit * 2 > 9 ? digit * 2 - 9 : digit * 2) : digit;
    }
    const std::string whole = number + static_cast<char>('0' + (10 - sum % 10) % 10);
    if (whole.size() != 16 || below(2) == 0) return whole;
    return whole.substr(0, 4) + " " + whole.substr(4, 4) + " " + whole.substr(8, 4) + " " + whole.substr(12);
  }

  std::string iban() {
    const std::string body = fill("##################");
    unsigned remainder = 0;
    for (const char c : body + "131400") remainder = (remainder * 10 + static_cast<unsigned>(c - '0')) % 97;
    const unsigned check = 98 - remainder;
    return "DE" + std::string(check < 10 ? "0" : "") + std::to_string(check) + body;
  }

  std::string value() {
    switch (below(7)) {
      case 0:
        return card();
      case 1:
        return iban();
      case 2:
        return fill("@@@@@.@@@@@@@#") + "@" + fill("@@@@@@@.com");
      case 3:
        return fill("+41 44 6## ## ##");
      case 4:
        return fill("8%.%#.%#.%#");
      case 5:
        return fill("5%#-%#-%###");
      default:
        return fill("sk-@#@@#@@@#@@@@#@@@@@#@@@@#@@@@@#@@@@@#@@");
    }
  }

 private:
  Rng rng_;
};

std::string full_width(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c > ' ' && c < 0x7f)
      utf8_append(out, 0xff01 + static_cast<char32_t>(c - '!'));
    else
      utf8_append(out, static_cast<unsigned char>(c));
  }
  return out;
}

std::string zero_width(std::string_view text, Values& values) {
  constexpr char32_t kBreaks[] = {0x200b, 0x200c, 0x200d, 0x2060, 0xfeff, 0xad};
  std::string out;
  for (const char c : text) {
    out.push_back(c);
    if (values.below(2) == 0) utf8_append(out, kBreaks[values.below(std::size(kBreaks))]);
  }
  return out;
}

// Typographic signs that look like ASCII's.
std::string look_alikes(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-')
      out += "\u2011";
    else if (c == ' ')
      out += "\u00a0";
    else if (c >= '0' && c <= '9')
      utf8_append(out, 0x0660 + static_cast<char32_t>(c - '0'));
    else
      out.push_back(c);
  }
  return out;
}

std::string base64(std::string_view text, std::string_view marks) {
  const std::string alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + std::string(marks);
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out.push_back(alphabet[bits >> (count - 6) & 63]);
  }
  if (count > 0) out.push_back(alphabet[bits << (6 - count) & 63]);
  while (out.size() % 4 != 0) out.push_back('=');
  return out;
}

constexpr std::string_view kSentences[] = {
    "Please look at {} for me.", "{}",          "This belongs to the customer: {}\nThanks!",
    "{\"id\": \"{}\"}",          "<td>{}</td>", "note: {}; and then translate it"};

// A value in one of its forms, and the sentence that it stands in.
struct Hidden {
  std::string value;  // plain
  std::string form;   // as it stands in the text
  std::string text;
};

Hidden hidden(Values& values) {
  const std::string value = values.value();
  const std::string_view sentence = kSentences[values.below(std::size(kSentences))];
  const size_t at = sentence.find("{}");
  const auto put = [&](const std::string& form) {
    return std::string(sentence.substr(0, at)) + form + std::string(sentence.substr(at + 2));
  };
  const auto plain = [&](const std::string& form) { return Hidden{value, form, put(form)}; };
  switch (values.below(7)) {
    case 0:
      return plain(full_width(value));
    case 1:
      return plain(zero_width(value, values));
    case 2:
      return plain(value.find('@') == std::string::npos && value.rfind("sk-", 0) != 0 ? look_alikes(value)
                                                                                      : value);
    case 3: {
      const std::string form = base64(put(value), "+/");
      return {value, form, "Decode this: " + form};
    }
    case 4: {
      const std::string form = base64(put(value), "-_");
      return {value, form, "data:text/plain;base64," + form};
    }
    default:
      return plain(value);
  }
}

// Letters and digits alone, look-alikes as ASCII: a second, simpler reading than the detectors'.
std::string bare(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    char32_t c = utf8_next(text, at);
    if (c >= 0xff01 && c <= 0xff5e) c = c - 0xff01 + '!';
    if (c >= 0x0660 && c <= 0x0669) c = c - 0x0660 + '0';
    if (c < 0x80 && std::isalnum(static_cast<int>(c)) != 0) out.push_back(static_cast<char>(c));
  }
  return out;
}

// An endpoint that keeps what it is sent and answers with the last text of the request, as a stream.
class RecordingEndpoint {
 public:
  RecordingEndpoint() : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~RecordingEndpoint() {
    ::shutdown(listener_, SHUT_RDWR);
    if (const int open = connection_; open >= 0) ::shutdown(open, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

  std::string base_url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  // Every byte since the last call.
  std::string take() {
    std::lock_guard lock(mutex_);
    return std::exchange(seen_, {});
  }

 private:
  void run() {
    while (true) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      connection_ = connection;
      while (serve(connection)) {
      }
      connection_ = -1;
      ::close(connection);
    }
  }

  bool serve(int connection) {
    std::string bytes;
    size_t whole = std::string::npos;
    while (bytes.size() < whole) {
      char buffer[1 << 14];
      const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
      if (got <= 0) return false;
      bytes.append(buffer, static_cast<size_t>(got));
      {
        std::lock_guard lock(mutex_);
        seen_.append(buffer, static_cast<size_t>(got));
      }
      const size_t head = bytes.find("\r\n\r\n");
      if (whole != std::string::npos || head == std::string::npos) continue;
      const size_t at = bytes.find("Content-Length: ");
      size_t length = 0;
      if (at < head) std::from_chars(bytes.data() + at + 16, bytes.data() + head, length);
      whole = head + 4 + length;
    }
    const Json body = Json::parse(bytes.substr(bytes.find("\r\n\r\n") + 4), nullptr, false);
    const std::string answer = answer_to(body);
    const std::string reply = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " +
                              std::to_string(answer.size()) + "\r\n\r\n" + answer;
    return ::send(connection, reply.data(), reply.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(reply.size());
  }

  // The last text in pieces of three bytes: every placeholder is cut.
  static std::string answer_to(const Json& body) {
    const bool chat = body.contains("messages");
    const std::string text = chat ? body["messages"].back().value("content", "") : body.value("prompt", "");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      size_t end = std::min(text.size(), at + 3);
      while (end < text.size() && utf8_continues(text[end])) ++end;
      const std::string piece = text.substr(at, end - at);
      const Json choice =
          chat ? Json{{"index", 0}, {"delta", {{"content", piece}}}} : Json{{"index", 0}, {"text", piece}};
      out += "data: " + Json{{"choices", Json::array({choice})}}.dump() + "\n\n";
      at = end;
    }
    return out + R"(data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})" +
           "\n\ndata: [DONE]\n\n";
  }

  const int listener_;
  uint16_t port_ = 0;
  std::atomic<int> connection_{-1};
  std::mutex mutex_;
  std::string seen_;
  std::thread thread_;
};

// A request as HTTP brings it.
struct Posted {
  std::string path;
  Json body;
  std::string way;      // the header x-hedge-path
  bool echoes = false;  // the endpoint's answer is the text that was put in
};

Json message(const char* role, Json content) { return {{"role", role}, {"content", std::move(content)}}; }

// `text` in one of the fields that the API knows.
Posted posted(const Hidden& hidden, Values& values) {
  const std::string& text = hidden.text;
  const Json user = message("user", "Hello, what can you tell me?");
  const Json answer = message("assistant", "A lot of things.");
  Posted out{"/v1/chat/completions",
             {{"model", "m"}, {"stream", true}, {"hedge", {{"route", "upstream"}}}},
             "",
             false};
  Json& body = out.body;
  Json& messages = body["messages"] = Json::array({user});
  const auto named = [&](const char* role) {
    Json one = message(role, "Well then.");
    one["name"] = text;
    return one;
  };
  switch (values.below(26)) {
    case 0:
      messages = {message("user", text)};
      out.echoes = true;
      break;
    case 1:
      messages = {message("system", text), user};
      break;
    case 2:
      messages = {message("developer", text), user};
      break;
    case 3:
      messages = {message("user", text), answer, user};
      break;
    case 4:
      messages = {user, message("assistant", text), user};
      break;
    case 5:
      messages = {user, answer, message("tool", "{\"result\": \"" + text + "\"}"), user};
      messages[2]["tool_call_id"] = "call_1";
      break;
    case 6:
      messages = {named("user")};
      break;
    case 7:
      messages = {user, named("tool"), user};
      break;
    case 8:
      messages = {message("user", Json::array({{{"type", "text"}, {"text", "Look at this."}},
                                               {{"type", "text"}, {"text", text}}}))};
      break;
    case 9: {  // over two parts
      const size_t half = text.size() / 2;
      size_t cut = half;
      while (cut < text.size() && utf8_continues(text[cut])) ++cut;
      messages = {message("user", Json::array({{{"type", "text"}, {"text", text}},
                                               {{"type", "text"}, {"text", text.substr(0, cut)}}}))};
      break;
    }
    case 10:
      body["stop"] = text;
      break;
    case 11:
      body["stop"] = Json::array({"END", text});
      break;
    case 12:
      messages = {user, message("assistant", text)};  // the answer's beginning
      body["continue_final_message"] = true;
      body["add_generation_prompt"] = false;
      break;
    case 13:
      body["user"] = body["safety_identifier"] = body["prompt_cache_key"] = text;
      break;
    case 14:
      body["metadata"] = {{"note", text}, {text, "note"}};
      body["prediction"] = {{"type", "content"}, {"content", text}};
      break;
    case 15:
      body["model"] = text;
      break;
    case 16:
      body["hedge"]["session"] = hidden.value;
      break;
    case 17:
      body["hedge"]["tags"] = Json::array({hidden.value});
      break;
    case 18:
      body["tools"] =
          Json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"description", text}}}}});
      break;
    case 19:
      messages = {user, message("assistant", nullptr), user};
      messages[1]["tool_calls"] = Json::array(
          {{{"id", "call_1"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", text}}}}});
      break;
    case 20:
      messages = {message(
          "user", Json::array({{{"type", "file"}, {"file", {{"filename", text}, {"file_data", text}}}}}))};
      break;
    case 21: {  // a card fits into a number
      const std::string digits = bare(hidden.value);
      uint64_t number = 0;
      const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), number).ptr;
      if (end == digits.data() + digits.size() && digits.size() >= 13 && digits.size() <= 18) {
        body["seed"] = number;
      } else {
        body["stop"] = text;
      }
      break;
    }
    case 22:
      out.way = hidden.value;
      break;
    case 23:
    case 24:
      out.path = "/v1/completions";
      body.erase("messages");
      body["prompt"] = text;
      out.echoes = true;
      break;
    default:
      out.path = "/v1/completions";
      body.erase("messages");
      body["prompt"] = Json::array({"Hello", text});
      break;
  }
  return out;
}

// Parser, router and client over the endpoint, with a local model that says "fine.".
class Rig {
 public:
  explicit Rig(const char* word) {
    ::setenv("no_proxy", "127.0.0.1", 1);
    route::Policy policy;
    if (word != nullptr) {
      for (std::string& type : policy.privacy.classes.types) type = type == "local" ? word : type;
    }
    upstream::Options options;
    options.base_url = endpoint_.base_url();
    options.model = "scripted";
    options.continuation = "prefix";
    auto client = upstream::OpenAiBackend::create(options);
    EXPECT_TRUE(client.ok());
    client_ = std::move(client).value();
    router_ = route::Router::create(local_, client_.get(), policy);
  }

  struct Outcome {
    bool refused = false;  // 400
    std::string sent;      // every byte
    std::string answer;
  };

  Outcome post(const Posted& posted) {
    Outcome out;
    for (const api::Dialect* dialect : api::dialects()) {
      if (dialect->path != posted.path) continue;
      Result<api::Call> call = dialect->parse(posted.body.dump());
      const auto way = api::read_way(posted.way, posted.way.empty() ? "" : "3", "node", 4);
      out.refused = !call.ok() || !way.ok();
      if (out.refused) break;
      for (chat::Request& request : call->requests) {
        request.way = *way;
        out.answer += answer_of(request);
      }
    }
    out.sent = endpoint_.take();
    return out;
  }

 private:
  std::string answer_of(const chat::Request& request) {
    const auto stream = router_->start(request);
    // Only an upstream calls tools: what may not leave is no request that the local model can answer.
    EXPECT_TRUE(stream.ok() || stream.error().field == "tools");
    std::string text;
    while (stream.ok()) {
      const Result<chat::Event> event = (*stream)->next(kNoDeadline);
      if (!event.ok() || std::holds_alternative<chat::Done>(event.value())) break;
      if (const auto* delta = std::get_if<chat::Delta>(&event.value())) text += delta->text;
    }
    return text;
  }

  RecordingEndpoint endpoint_;
  FakeBackend local_;
  std::unique_ptr<upstream::OpenAiBackend> client_;
  std::unique_ptr<route::Router> router_;
};

bool holds(std::string_view sent, const Hidden& hidden) {
  if (sent.find(hidden.form) != std::string_view::npos || sent.find(hidden.value) != std::string_view::npos)
    return true;
  return bare(sent).find(bare(hidden.value)) != std::string::npos;
}

constexpr int kFresh = 2000;  // the fakes keep all they were given

int rounds() {
  const char* wanted = std::getenv("HEDGE_LEAK_REQUESTS");
  return wanted != nullptr ? std::atoi(wanted) : 800;
}
uint64_t seed() {
  const char* seeded = std::getenv("HEDGE_LEAK_SEED");
  return seeded != nullptr ? static_cast<uint64_t>(std::atoll(seeded)) : 1;
}

// Fields that never leave: what stands in them keeps no request here.
bool stays_behind(const Posted& posted, const Hidden& hidden) {
  const Json& body = posted.body;
  return body.contains("user") || body.contains("metadata") || body["model"] == hidden.text ||
         body["hedge"].contains("session") || body["hedge"].contains("tags");
}

TEST(Leak, NothingPersonalReachesTheEndpoint) {
  std::printf("%d requests, seed %llu\n", rounds(), static_cast<unsigned long long>(seed()));
  std::optional<Rig> rig;
  Values values(seed());
  int sent = 0, refused = 0, leaks = 0;
  for (int i = 0; i < rounds() && leaks < 20; ++i) {
    if (i % kFresh == 0) rig.emplace(nullptr);
    const Hidden value = hidden(values);
    const Posted request = posted(value, values);
    const Rig::Outcome out = rig->post(request);
    refused += out.refused ? 1 : 0;
    if (out.sent.empty()) continue;
    ++sent;
    const bool clean =
        stays_behind(request, value) || request.path == "/v1/completions" || !request.way.empty();
    if (clean && !holds(out.sent, value)) continue;
    ++leaks;
    ADD_FAILURE() << "request " << i << ": " << request.body.dump() << "\nsent " << out.sent;
  }
  EXPECT_EQ(leaks, 0);
  std::printf("%d sent without the value, %d refused\n", sent, refused);
  EXPECT_GT(sent, rounds() / 20) << "what never leaves keeps no request here";
}

TEST(Leak, WhatIsMaskedLeavesNoValueAndComesBackWhole) {
  std::printf("%d requests, seed %llu\n", rounds(), static_cast<unsigned long long>(seed()));
  std::optional<Rig> rig;
  Values values(seed() + 1);
  int sent = 0, leaks = 0, whole = 0;
  for (int i = 0; i < rounds() && leaks < 20; ++i) {
    if (i % kFresh == 0) rig.emplace("mask");
    const Hidden value = hidden(values);
    const Posted request = posted(value, values);
    const Rig::Outcome out = rig->post(request);
    if (out.sent.empty()) continue;
    ++sent;
    const bool leaked = holds(out.sent, value);
    const bool broken = request.echoes && out.answer != value.text;
    whole += request.echoes && !broken ? 1 : 0;
    if (!leaked && !broken) continue;
    ++leaks;
    ADD_FAILURE() << "request " << i << ": " << request.body.dump() << "\nsent " << out.sent << "\nread "
                  << out.answer;
  }
  EXPECT_EQ(leaks, 0);
  std::printf("%d sent, %d of them echoed and read whole\n", sent, whole);
  EXPECT_GT(sent, rounds() / 4);
  EXPECT_GT(whole, rounds() / 40);
}

// The same shapes without a private value do go: what holds the others back is the value.
TEST(Leak, CleanRequestsGo) {
  Rig rig(nullptr);
  Values values(2);
  int refused = 0;
  constexpr int kCount = 300;
  for (int i = 0; i < kCount; ++i) {
    const std::string text = values.fill("a plain sentence about @@@ and ## other things");
    const Posted request = posted({"plain", "plain", text}, values);
    const Rig::Outcome out = rig.post(request);
    refused += out.refused ? 1 : 0;
    EXPECT_EQ(out.sent.empty(), out.refused) << request.body.dump();
  }
  EXPECT_LT(refused, kCount / 4);
}

}  // namespace
}  // namespace hedge::server
