// The leak rig: requests with a private value in every shape a request has, against an upstream that keeps
// every request it was given. None with a private value may reach it; clean ones must, or the rig would prove
// nothing. HEDGE_LEAK_REQUESTS sets how many (a few thousand otherwise), HEDGE_LEAK_SEED the seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/rng.h"
#include "base/utf8.h"
#include "route/fake_backend.h"
#include "route/router.h"

namespace hedge::route {
namespace {

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

// The value inside of a sentence, in one of its forms.
std::string hidden(Values& values) {
  const std::string value = values.value();
  const std::string_view sentence = kSentences[values.below(std::size(kSentences))];
  const size_t at = sentence.find("{}");
  const auto put = [&](const std::string& form) {
    return std::string(sentence.substr(0, at)) + form + std::string(sentence.substr(at + 2));
  };
  switch (values.below(7)) {
    case 0:
      return put(full_width(value));
    case 1:
      return put(zero_width(value, values));
    case 2:
      return value.find('@') == std::string::npos && value.rfind("sk-", 0) != 0 ? put(look_alikes(value))
                                                                                : put(value);
    case 3:
      return "Decode this: " + base64(put(value), "+/");
    case 4:
      return "data:text/plain;base64," + base64(put(value), "-_");
    default:
      return put(value);
  }
}

// `text` in one of the places of a request that go upstream.
chat::Request request_with(const std::string& text, Values& values) {
  using chat::Role;
  chat::Request request;
  request.routing.route = chat::Route::kUpstream;
  const chat::Message user{Role::kUser, "Hello, what can you tell me?", ""};
  const chat::Message answer{Role::kAssistant, "A lot of things.", ""};
  switch (values.below(10)) {
    case 0:
      request.messages = {{Role::kUser, text, ""}};
      break;
    case 1:
      request.messages = {{Role::kSystem, text, ""}, user};
      break;  // system, instructions
    case 2:
      request.messages = {{Role::kUser, text, ""}, answer, user};
      break;  // an earlier turn
    case 3:
      request.messages = {user, {Role::kAssistant, text, ""}, user};
      break;  // an earlier answer
    case 4:
      request.messages = {user, answer, {Role::kTool, "{\"result\": \"" + text + "\"}", ""}, user};
      break;
    case 5:
      request.messages = {user};
      request.messages[0].name = text;
      break;  // names, file names
    case 6:
      request.messages = {{Role::kUser, "Look at this.\n" + text + "\nWhat is it?", ""}};
      break;  // joined parts
    case 7:
      request.raw = true;
      request.prompt = text;
      break;
    case 8:
      request.messages = {user};
      request.assistant_prefix = text;
      break;
    default:
      request.messages = {user};
      request.stop = {"END", text};
      break;
  }
  return request;
}

TEST(Leak, NoPrivateValueReachesTheUpstream) {
  const char* wanted = std::getenv("HEDGE_LEAK_REQUESTS");
  const char* seeded = std::getenv("HEDGE_LEAK_SEED");
  const int count = wanted != nullptr ? std::atoi(wanted) : 4000;
  const uint64_t seed = seeded != nullptr ? static_cast<uint64_t>(std::atoll(seeded)) : 1;
  std::printf("%d requests, seed %llu\n", count, static_cast<unsigned long long>(seed));
  const auto say = [](const chat::Request&) -> Result<FakePlan> {
    FakePlan plan;
    plan.events.emplace_back(chat::Event{chat::Started{}});
    plan.events.emplace_back(chat::Event{token_delta("fine.")});
    plan.events.emplace_back(chat::Event{chat::Done{}});
    return plan;
  };
  Values values(seed);
  int leaks = 0;
  for (int i = 0; i < count; ++i) {
    // A fresh pair now and then: the fakes keep all they were given.
    FakeBackend local("local", say);
    FakeBackend upstream("cloud", say);
    const auto router = Router::create(local, &upstream, {});
    const std::string text = hidden(values);
    const chat::Request request = request_with(text, values);
    Result<std::unique_ptr<chat::Stream>> stream = router->start(request);
    ASSERT_TRUE(stream.ok());
    for (bool ended = false; !ended;) {
      const Result<chat::Event> event = (*stream)->next(kNoDeadline);
      ended = !event.ok() || std::holds_alternative<chat::Done>(event.value());
    }
    if (upstream.requests().empty()) continue;
    ++leaks;
    ADD_FAILURE() << "request " << i << " left the device: " << text;
    if (leaks >= 20) break;
  }
  EXPECT_EQ(leaks, 0);
}

// The same shapes without a private value do go: what holds the others back is the value.
TEST(Leak, CleanRequestsGo) {
  const auto say = [](const chat::Request&) -> Result<FakePlan> {
    FakePlan plan;
    plan.events.emplace_back(chat::Event{chat::Started{}});
    plan.events.emplace_back(chat::Event{token_delta("fine.")});
    plan.events.emplace_back(chat::Event{chat::Done{}});
    return plan;
  };
  Values values(2);
  for (int i = 0; i < 500; ++i) {
    FakeBackend local("local", say);
    FakeBackend upstream("cloud", say);
    const auto router = Router::create(local, &upstream, {});
    const std::string text = values.fill("a plain sentence about @@@ and ## other things");
    Result<std::unique_ptr<chat::Stream>> stream = router->start(request_with(text, values));
    ASSERT_TRUE(stream.ok());
    for (bool ended = false; !ended;) {
      const Result<chat::Event> event = (*stream)->next(kNoDeadline);
      ended = !event.ok() || std::holds_alternative<chat::Done>(event.value());
    }
    EXPECT_EQ(upstream.requests().size(), 1u) << text;
  }
}

}  // namespace
}  // namespace hedge::route
