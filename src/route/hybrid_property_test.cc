// Random answers, cuts, failures and timeouts. Both fakes know the same answer and cut it into pieces each in
// its own way, so whatever way an answer takes, the joined text must be that answer, byte for byte, up to the
// first stop string.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "base/rng.h"
#include "base/utf8.h"
#include "chat/stop_filter.h"
#include "route/fake_backend.h"
#include "route/router.h"

namespace hedge::route {
namespace {

constexpr int kAnswers = 6000;

std::string random_answer(Rng& rng) {
  const char* const kBits[] = {"The",  " capital",    " of",   " France", " is",   " Paris", ".",    ",",
                               "\n",   " ",           "don't", "é",       "naïve", "日本",   "語",   "안녕",
                               "🙂", "👩‍🔬", "🇫🇷",    "(",       ")",     "\"",     "3.14", "x_y",
                               "ไทย",  "e\u0301",     "\t",    "—",       "a",     "Z9"};
  std::string out;
  for (uint64_t i = rng.below(24); i > 0; --i) out += kBits[rng.below(std::size(kBits))];
  return out;
}

// Cuts at character boundaries; some pieces are empty, as a tokenizer's are while a character is incomplete.
std::vector<std::string> random_pieces(Rng& rng, std::string_view text) {
  std::vector<std::string> pieces;
  std::string piece;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    utf8_next(text, position);
    piece += text.substr(begin, position - begin);
    if (rng.below(3) == 0) pieces.push_back(std::exchange(piece, {}));
    if (rng.below(12) == 0) pieces.emplace_back();
  }
  if (!piece.empty()) pieces.push_back(piece);
  return pieces;
}

struct Chances {
  double refuses = 0;
  double dies = 0;
};

// Half of the time a part of the answer, so that it ends there, and one that only begins like a part of it.
std::vector<std::string> random_stops(Rng& rng, const std::string& answer) {
  std::vector<size_t> cuts;  // between characters
  for (size_t position = 0; position < answer.size(); utf8_next(answer, position)) cuts.push_back(position);
  cuts.push_back(answer.size());
  const auto part = [&] {
    const size_t begin = rng.below(cuts.size());
    const size_t end = std::min(begin + 1 + rng.below(40), cuts.size() - 1);
    return begin < end ? answer.substr(cuts[begin], cuts[end] - cuts[begin]) : std::string();
  };
  std::vector<std::string> stops;
  if (rng.below(2) == 0) stops.push_back(part() + "\x01");
  if (rng.below(2) == 0) stops.push_back(part());
  return stops;
}

// Where the answer ends by them.
size_t stopped_at(const std::string& answer, const std::vector<std::string>& stops) {
  size_t at = answer.size();
  for (const std::string& stop : stops) {
    if (!stop.empty()) at = std::min(at, answer.find(stop));
  }
  return at;
}

// A backend that continues `answer` from the request's prefix, with trouble by chance.
FakeBackend::Plan continue_answer(Rng& rng, const std::string& name, const std::string& prefix,
                                  const std::string& answer, bool local, Chances chances) {
  return [&rng, name, prefix, answer, local, chances](const chat::Request& request) -> Result<FakePlan> {
    EXPECT_EQ((prefix + answer).compare(0, request.assistant_prefix.size(), request.assistant_prefix), 0);
    EXPECT_EQ(utf8_complete_prefix(request.assistant_prefix), request.assistant_prefix.size());
    if (rng.uniform() < chances.refuses) return make_error(ErrorCode::kUnavailable, "refused");
    FakePlan plan;
    const auto maybe_timeout = [&] {
      if (rng.below(4) == 0) plan.events.emplace_back(make_error(ErrorCode::kTimeout, "nothing yet"));
    };
    std::vector<std::string> pieces =
        random_pieces(rng, (prefix + answer).substr(request.assistant_prefix.size()));
    const bool dies = rng.uniform() < chances.dies;
    if (dies) pieces.resize(rng.below(pieces.size() + 1));
    if (dies && rng.below(3) == 0) {
      plan.events.emplace_back(make_error(ErrorCode::kIo, "reset"));
      return plan;
    }
    maybe_timeout();
    plan.events.emplace_back(chat::Event(chat::Started{name, "fake", 5, 0}));
    // As real backends do; one that knows no stop strings must make no difference.
    chat::StopFilter stops(rng.below(4) == 0 ? std::vector<std::string>() : request.stop);
    const bool unsure_later = rng.below(2) == 0;
    const auto turn = rng.below(pieces.size() + 1);
    for (size_t i = 0; i < pieces.size() && !stops.stopped(); ++i) {
      maybe_timeout();
      pieces[i] = stops.push(pieces[i]);
      const float margin = unsure_later && i >= turn ? 0.01f : static_cast<float>(rng.uniform());
      plan.events.emplace_back(
          chat::Event(local ? token_delta(pieces[i], margin, static_cast<float>(4 * rng.uniform()))
                            : chat::Delta{pieces[i], {}}));
    }
    maybe_timeout();
    if (dies) {
      plan.events.emplace_back(make_error(ErrorCode::kUnavailable, "cut"));
    } else {
      plan.events.emplace_back(chat::Event(chat::Delta{stops.flush(), {}}));
      plan.events.emplace_back(chat::Event(chat::Done{chat::FinishReason::kStop, {}, nullptr}));
    }
    return plan;
  };
}

Policy random_policy(Rng& rng) {
  Policy policy;
  policy.word_end_wait_tokens = static_cast<int>(rng.below(8));
  policy.upstream_tokens_per_day = rng.below(4) == 0 ? 4500 : 0;
  Confidence& rule = policy.confidence;
  rule.enabled = rng.below(8) != 0;
  rule.first_tokens = static_cast<int>(rng.below(6));
  rule.first_hold_ms = rng.below(6) == 0 ? 0 : 60'000;
  rule.window_tokens = 1 + static_cast<int>(rng.below(6));
  rule.check_every_tokens = 1 + static_cast<int>(rng.below(4));
  rule.mid_checks_in_a_row = 1 + static_cast<int>(rng.below(3));
  rule.first_margin_min = rng.uniform();
  rule.mid_margin_min = rng.uniform();
  return policy;
}

TEST(HybridProperty, NoByteIsLostOrDoubledWhateverHappens) {
  uint64_t mixed = 0, upstream_only = 0, errors = 0, resumed = 0, kept = 0, border_stops = 0;
  for (int round = 0; round < kAnswers; ++round) {
    SCOPED_TRACE("seed " + std::to_string(round));
    Rng rng(static_cast<uint64_t>(round));
    const std::string answer = random_answer(rng);
    const std::string prefix = rng.below(6) == 0 ? "Well, " : "";
    const bool local_fails = rng.below(5) == 0;
    FakeBackend local("local", continue_answer(rng, "local", prefix, answer, true,
                                               local_fails ? Chances{0.2, 0.4} : Chances{}));
    FakeBackend upstream("cloud", continue_answer(rng, "cloud", prefix, answer, false, Chances{0.2, 0.5}));
    auto router = Router::create(local, &upstream, random_policy(rng));
    chat::Request request;
    const bool personal = rng.below(8) == 0;
    request.messages = {{chat::Role::kUser, personal ? "I am jane@example.com" : "Hello", ""}};
    request.assistant_prefix = prefix;
    if (rng.below(2) == 0) request.stop = random_stops(rng, answer);
    const size_t end = stopped_at(answer, request.stop);
    request.routing.private_session = rng.below(10) == 0;
    request.routing.route = static_cast<chat::Route>(rng.below(3));
    if (rng.below(3) == 0) request.routing.escalate_after = static_cast<int>(rng.below(10));

    Result<std::unique_ptr<chat::Stream>> stream = router->start(request);
    std::string text;
    std::vector<chat::Segment> seen;
    std::string writer;
    int switches = 0;
    bool done = false;
    if (stream.ok()) {
      for (;;) {
        const bool waits = rng.below(3) == 0;
        Result<chat::Event> event = (*stream)->next(waits ? SteadyClock::now() : kNoDeadline);
        if (!event.ok()) {
          if (event.error().code == ErrorCode::kTimeout) {
            ASSERT_TRUE(waits);
            continue;
          }
          break;
        }
        ASSERT_FALSE(done);
        if (auto* started = std::get_if<chat::Started>(&*event)) {
          ASSERT_TRUE(writer.empty());
          writer = started->backend;
        } else if (auto* delta = std::get_if<chat::Delta>(&*event)) {
          ASSERT_FALSE(writer.empty());
          text += delta->text;
          chat::append_segment(seen, writer, delta->text.size());
        } else if (auto* switched = std::get_if<chat::Switched>(&*event)) {
          ASSERT_EQ(switched->from, writer);
          ASSERT_FALSE(switched->reason.empty());
          writer = switched->to;
          ++switches;
        } else {
          done = true;
          const chat::Trace& trace = *std::get<chat::Done>(*event).trace;
          EXPECT_EQ(trace.segments, seen);
          size_t bytes = 0;
          for (const chat::Segment& segment : trace.segments) bytes += segment.bytes;
          EXPECT_EQ(bytes, text.size());
          EXPECT_FALSE(trace.reasons.empty());
          EXPECT_TRUE(seen.size() <= 1 || trace.route == "mixed");
          mixed += trace.route == "mixed" ? 1 : 0;
          upstream_only += trace.route == "upstream" ? 1 : 0;
        }
      }
      EXPECT_EQ((*stream)->next(kNoDeadline).error().code, ErrorCode::kCancelled);
    }
    EXPECT_LE(switches, 2);
    EXPECT_LE(upstream.requests().size(), 1u);
    EXPECT_LE(local.requests().size(), 2u);
    EXPECT_EQ(local.running() + upstream.running(), 0);
    EXPECT_TRUE(utf8_valid(text));
    if (done) {
      EXPECT_EQ(text, answer.substr(0, end));
      // A backend took over within the stop string.
      for (const auto* fake : {&local, &upstream}) {
        for (const chat::Request& leg : fake->requests()) {
          border_stops += end < answer.size() && leg.assistant_prefix.size() > prefix.size() + end ? 1 : 0;
        }
      }
    } else {
      EXPECT_LE(text.size(), end);
      EXPECT_EQ(answer.compare(0, text.size(), text), 0);
      EXPECT_TRUE(local_fails);
      ++errors;
    }
    const Counters counters = router->counters();
    EXPECT_EQ(counters.local + counters.upstream + counters.mixed + counters.failed, 1u);
    resumed += counters.resumed_local;
    if (personal || request.routing.private_session) {
      EXPECT_TRUE(upstream.requests().empty());
      ++kept;
    }
  }
  // Every way was taken often enough to mean something.
  EXPECT_GT(mixed, 300u);
  EXPECT_GT(upstream_only, 300u);
  EXPECT_GT(errors, 50u);
  EXPECT_GT(resumed, 200u);
  EXPECT_GT(kept, 300u);
  EXPECT_GT(border_stops, 20u);
}

// With room to wait, no switch to the upstream leaves a letter before it and a letter after it.
TEST(HybridProperty, SwitchesToTheUpstreamFallBetweenWords) {
  int switched = 0;
  for (int round = 0; round < 1500; ++round) {
    Rng rng(static_cast<uint64_t>(round) + 1'000'000);
    const std::string answer = random_answer(rng);
    FakeBackend local("local", continue_answer(rng, "local", "", answer, true, {}));
    FakeBackend upstream("cloud", continue_answer(rng, "cloud", "", answer, false, {}));
    Policy policy;
    policy.word_end_wait_tokens = 1000;
    auto router = Router::create(local, &upstream, policy);
    chat::Request request;
    request.messages = {{chat::Role::kUser, "Hello", ""}};
    request.routing.escalate_after = 1 + static_cast<int>(rng.below(6));
    auto stream = router->start(request).value();
    while (stream->next(kNoDeadline).ok()) {
    }
    if (upstream.requests().empty()) continue;
    const size_t cut = upstream.requests()[0].assistant_prefix.size();
    if (cut == 0 || cut == answer.size()) continue;
    ++switched;
    const auto ascii_word = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    };
    EXPECT_FALSE(ascii_word(answer[cut - 1]) && ascii_word(answer[cut])) << answer << " at " << cut;
  }
  EXPECT_GT(switched, 300);
}

}  // namespace
}  // namespace hedge::route
