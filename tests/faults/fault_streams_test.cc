// Many streams through every fault at random places: the real router over the real upstream client, on
// loopback sockets to the scripted upstream; the local model is a fake that knows the same answer. Whatever
// breaks, in whichever manner the start of the turn comes back, the joined text must be that answer byte for
// byte.
//
//   HEDGE_FAULT_STREAMS=100000 HEDGE_FAULT_FIRST=0 build/release/fault_streams_test
//
// HEDGE_FAULT_STREAMS  number of streams (400), HEDGE_FAULT_FIRST  number of the first one (0): a stream's
// number is the seed of everything about it, so a full run can be cut into pieces. The numbers of broken
// streams are printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "route/fake_backend.h"
#include "route/router.h"
#include "tests/support/scripted_upstream.h"
#include "upstream/align.h"
#include "upstream/tiers.h"

namespace hedge {
namespace {

constexpr int kAtOnce = 64;
// Streams of one upstream: it keeps every request that it has seen.
constexpr int kRoundStreams = 2000;
constexpr int kPatienceMs = 500;  // of the client, with an upstream that is silent
constexpr int kRaceAfterMs = 60;  // of the router that races
constexpr Milliseconds kStreamLimit{20'000};

int number_from_environment(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

// No word twice in an answer: text that repeats itself may rightly go on repeating itself, which
// align_test.cc looks at.
constexpr const char* kWords[] = {
    "river", "stone", "light",  "seven",  "garden", "quiet",   "copper", "window",  "maple",  "signal",
    "north", "paper", "silver", "harbor", "candle", "orbit",   "grüße",  "naïve",   "日本語", "🐟 fish",
    "don't", "x_y",   "(so)",   "ไทย",    "meadow", "lantern", "cobalt", "whisper", "tiles",  "\n\nthen"};

enum class Where { kPlain, kRacing, kTiers, kRefused, kTls };

// One stream: what is asked, and what follows from it. Everything is drawn from its number.
struct Case {
  int number = 0;
  std::string fault, mode, script, answer, begins;
  int after = 0;
  bool by_bytes = false;
  Where where = Where::kPlain;
  int unsure_from = -1;  // the local model's token from which it is unsure
  chat::Request request;

  explicit Case(int its_number) : number(its_number) {
    Rng rng(static_cast<uint64_t>(number) + 1);
    std::vector<std::string> words(std::begin(kWords), std::end(kWords));
    const uint64_t count = 5 + rng.below(16);
    answer = fmt::format("Tale {}", static_cast<char>('A' + rng.below(26)));
    for (uint64_t i = 0; i < count; ++i) {
      const auto at = static_cast<ptrdiff_t>(rng.below(words.size()));
      answer += (words[static_cast<size_t>(at)].front() == '\n' ? "" : " ") + words[static_cast<size_t>(at)];
      words.erase(words.begin() + at);
    }
    answer += ".";
    draw_fault(rng);
    draw_beginning(rng);
    request.id = fmt::format("hd-{}", number);
    request.messages = {{chat::Role::kUser, fmt::format("script: {}; say: {}", script, answer), ""}};
    request.sampling.temperature = 0;
  }

  std::string name() const {
    return fmt::format("stream {}: {}, {}, where {}", number, script, begins, static_cast<int>(where));
  }

 private:
  void draw_fault(Rng& rng) {
    const char* const modes[] = {"continue", "echo", "spread", "spaced", "overlap", "restart", "fresh"};
    mode = modes[rng.below(std::size(modes))];
    const std::vector<std::string> faults = test::all_faults();
    const uint64_t kind = rng.below(faults.size() + 8);
    fault = kind < faults.size() ? faults[kind] : "none";
    const auto pieces = test::scripted_pieces(answer).size();
    // Half of a piece is sent only where there is one.
    after = static_cast<int>(rng.below(pieces + (fault == "cut_word" ? 0 : 1)));
    if (kind >= faults.size() + 4 || ((fault == "cut" || fault == "reset") && rng.below(2) == 0)) {
      const char* const at_a_byte[] = {"cut", "reset", "stall"};
      // The whole response is some thousand bytes; a limit above that is none.
      fault = at_a_byte[rng.below(20) == 0 ? 2 : rng.below(2)];
      by_bytes = true;
      script = fmt::format("mode={}&fault={}&after_bytes={}", mode, fault,
                           1 + rng.below(120 + 190 * (pieces + 4)));
    } else {
      const bool before_head = (fault == "cut" || fault == "reset" || fault == "stall") && rng.below(6) == 0;
      if (before_head) after = -1;
      script = fmt::format("mode={}&fault={}&after={}", mode, fault, after);
    }
    if (fault == "status") {
      const int codes[] = {500, 502, 503, 429, 400, 401, 404, 408};
      const int code = codes[rng.below(std::size(codes))];
      script += fmt::format("&status={}", code);
      if (code == 429) script += rng.below(2) == 0 ? "&retry_after_ms=2000" : "&retry_after_ms=70";
    }
    if (rng.below(10) == 0) script += "&per_byte=1";
    if (rng.below(20) == 0) script += "&no_role=1";
    if (fault == "none" && rng.below(4) == 0) script += "&plain=1";
    if (rng.below(12) == 0) script += fmt::format("&first_delay_ms={}", 100 + rng.below(2) * 600);
    const uint64_t place = rng.below(40);
    where = place < 6     ? Where::kRacing
            : place < 10  ? Where::kTiers
            : place == 10 ? Where::kRefused
            : place == 11 ? Where::kTls
                          : Where::kPlain;
  }

  void draw_beginning(Rng& rng) {
    switch (rng.below(5)) {
      case 0:
        begins = "upstream from the start";
        request.routing.route = chat::Route::kUpstream;
        return;
      case 1:
        begins = "unsure from the first token";
        unsure_from = 0;
        return;
      case 2:
        unsure_from = 6 + static_cast<int>(rng.below(6));
        begins = fmt::format("unsure from token {}", unsure_from);
        return;
      default:
        request.routing.escalate_after = static_cast<int>(rng.below(12));
        begins = fmt::format("after {} tokens", *request.routing.escalate_after);
        return;
    }
  }
};

// The local model: goes on with the answer from wherever the turn stands, a few characters a token.
route::FakeBackend::Plan local_model(const std::map<std::string, const Case*>& cases) {
  return [&cases](const chat::Request& request) -> Result<route::FakePlan> {
    const Case& one = *cases.at(request.id);
    route::FakePlan plan;
    plan.events.emplace_back(chat::Event(chat::Started{"local", "fake", 9, 0}));
    const std::string& start = request.assistant_prefix;
    // What stands is no part of the answer: an upstream's own words in "restart"; the end is near.
    std::string rest = one.answer.starts_with(start) ? one.answer.substr(start.size()) : std::string("#");
    std::vector<std::string> pieces;
    for (size_t at = 0; at < rest.size();) {
      const size_t begin = at;
      for (int i = 0; i < 4 && at < rest.size(); ++i) utf8_next(rest, at);
      pieces.push_back(rest.substr(begin, at - begin));
    }
    for (size_t i = 0; i < pieces.size(); ++i) {
      const bool unsure = one.unsure_from >= 0 && static_cast<int>(i) >= one.unsure_from;
      plan.events.emplace_back(
          chat::Event(route::token_delta(pieces[i], unsure ? 0.0f : 1.0f, unsure ? 4.0f : 0.0f)));
    }
    plan.events.emplace_back(chat::Event(chat::Done{chat::FinishReason::kStop, {}, nullptr}));
    return plan;
  };
}

upstream::Options options_for(const std::string& name, const std::string& url) {
  upstream::Options options;
  options.name = name;
  options.base_url = url;
  options.model = "scripted";
  options.continuation = "prefix";
  options.first_token_timeout_ms = options.gap_timeout_ms = options.connect_timeout_ms = kPatienceMs;
  options.in_flight_max = 2 * kAtOnce;
  options.breaker_failures = 1 << 30;
  return options;
}

std::unique_ptr<upstream::OpenAiBackend> client_of(const std::string& name, const std::string& url) {
  auto made = upstream::OpenAiBackend::create(options_for(name, url));
  EXPECT_TRUE(made.ok()) << made.error().to_text();
  return std::move(made).value();
}

route::Policy policy_for(int race_after_ms) {
  route::Policy policy;
  policy.race_after_ms = race_after_ms;
  policy.confidence.first_tokens = 3;
  policy.confidence.window_tokens = 4;
  policy.confidence.check_every_tokens = 1;
  policy.confidence.mid_checks_in_a_row = 1;
  return policy;
}

struct Tally {
  std::mutex mutex;
  std::map<std::string, std::array<int, 3>> by_fault;  // answers written here, above, by both
  int resumed = 0, switched_up = 0, ambiguous = 0;
  std::vector<std::string> broken;
};

// What one stream gave, and whether it holds. An empty text: all is well.
class Check {
 public:
  explicit Check(const Case& one) : case_(one) {}

  std::string run(chat::Backend& router, Tally& tally) {
    auto stream = router.start(case_.request);
    if (!stream.ok()) return "start: " + stream.error().to_text();
    const Deadline limit = deadline_after(kStreamLimit);
    while (!done_) {
      Result<chat::Event> event = (*stream)->next(limit);
      if (!event.ok()) return "ended in " + event.error().to_text();
      if (std::string wrong = take(std::move(*event)); !wrong.empty()) return wrong;
    }
    if ((*stream)->next(limit).ok()) return "an event after the end";
    if (std::string wrong = check_segments(); !wrong.empty()) return wrong;
    if (std::string wrong = check_text(); !wrong.empty()) return wrong;
    count(tally);
    return {};
  }

 private:
  std::string take(chat::Event event) {
    if (auto* started = std::get_if<chat::Started>(&event)) {
      if (!writer_.empty()) return "begun twice";
      writer_ = started->backend;
    } else if (auto* delta = std::get_if<chat::Delta>(&event)) {
      if (writer_.empty()) return "text before its writer";
      text_ += delta->text;
      if (!delta->text.empty()) chat::append_segment(seen_, writer_, delta->text.size());
    } else if (auto* switched = std::get_if<chat::Switched>(&event)) {
      if (switched->from != writer_ || switched->to == writer_)
        return fmt::format("a switch from {} to {}, while {} wrote", switched->from, switched->to, writer_);
      writer_ = switched->to;
      ++switches_;
    } else {
      done_ = std::get<chat::Done>(std::move(event));
    }
    return {};
  }

  // One visible switch for every change of the writer, and none without text after it.
  std::string check_segments() const {
    if (done_->trace->segments != seen_) return "the trace's segments are not what came";
    if (seen_.size() > 3) return fmt::format("{} segments", seen_.size());
    if (switches_ + 1 != static_cast<int>(std::max<size_t>(seen_.size(), 1)))
      return fmt::format("{} switches, {} segments", switches_, seen_.size());
    return {};
  }

  std::string check_text() {
    if (utf8_complete_prefix(text_) != text_.size()) return "half a character";
    if (done_->reason != chat::FinishReason::kStop) return "not ended by stop";
    if (text_ == case_.answer) return {};
    // An upstream that says too early that it is done has ended the answer.
    if (case_.fault == "stop" && case_.answer.starts_with(text_) && !resumed()) return {};
    if (is_ambiguous()) return {};
    if (case_.fault == "cut_word" && text_.starts_with(case_.answer + " ex"))
      return {};  // its own, beyond the answer
    return fmt::format("expected \"{}\", got \"{}\"", case_.answer, text_);
  }

  bool resumed() const {
    const std::vector<std::string>& reasons = done_->trace->reasons;
    return std::find(reasons.begin(), reasons.end(), "local.resumed") != reasons.end();
  }

  // Whether the upstream said again so little of the start that nothing can tell it from a continuation
  // (align.h): fewer bytes than kOverlapBytesMin, or an answer begun anew that shares fewer with the start
  // than kRestartBytes. What it wrote then still stands once.
  bool is_ambiguous() {
    if (seen_.size() < 2 || seen_[0].backend != "local") return false;
    const std::string start = text_.substr(0, seen_[0].bytes),
                      above = text_.substr(seen_[0].bytes, seen_[1].bytes);
    const std::string after = text_.substr(start.size() + above.size());
    if (!case_.answer.starts_with(start) || !(after.empty() || after == "#")) return false;
    test::Script script;
    script.mode = case_.mode;
    const std::string sent(upstream::sent_part(start));
    const std::string reply = test::scripted_reply(script, sent, case_.answer);
    if (reply.find(above) == std::string::npos) return false;
    if (case_.mode == "continue") return false;
    const bool anew = case_.mode == "restart";
    const size_t again_bytes =
        anew ? reply.find(" actually ") : reply.size() - (case_.answer.size() - sent.size());
    const size_t above_bytes = above.size() - std::min(above.find_first_not_of(" \n"), above.size());
    ambiguous_ =
        std::min(again_bytes, above_bytes) < (anew ? upstream::kRestartBytes : upstream::kOverlapBytesMin);
    return ambiguous_;
  }

  void count(Tally& tally) const {
    const std::lock_guard lock(tally.mutex);
    const size_t column = done_->trace->route == "local" ? 0 : done_->trace->route == "upstream" ? 1 : 2;
    ++tally.by_fault[case_.where == Where::kRefused ? "refused"
                     : case_.where == Where::kTls
                         ? "tls"
                         : case_.fault + (case_.by_bytes ? " at a byte" : "")][column];
    tally.resumed += resumed();
    tally.ambiguous += ambiguous_;
    tally.switched_up += seen_.size() > 1 && seen_[0].backend == "local";
  }

  const Case& case_;
  std::string writer_, text_;
  std::vector<chat::Segment> seen_;
  int switches_ = 0;
  bool ambiguous_ = false;
  std::optional<chat::Done> done_;
};

// A router and what stands behind it. What a client learns of its endpoint holds for one mode, so each has
// its own.
struct Rig {
  Rig(chat::Backend& local, Where where, const test::ScriptedUpstream& open,
      const test::ScriptedUpstream& closed) {
    if (where == Where::kTiers) {
      std::vector<upstream::Tier> two;
      two.push_back({client_of("fog", open.base_url()), 30});
      two.push_back({client_of("cloud", open.base_url()), 0});
      client = upstream::make_tiers(std::move(two));
    } else {
      client = client_of("cloud", where == Where::kTls       ? "https" + open.base_url().substr(4)
                                  : where == Where::kRefused ? closed.base_url()
                                                             : open.base_url());
    }
    router =
        route::Router::create(local, client.get(), policy_for(where == Where::kRacing ? kRaceAfterMs : 0));
  }

  std::unique_ptr<upstream::OpenAiBackend> client;
  std::unique_ptr<route::Router> router;
};

void run_round(int first, int count, Tally& tally) {
  test::ScriptedUpstream upstream, closed;
  closed.refuse_connections();
  std::vector<std::unique_ptr<Case>> cases;
  std::map<std::string, const Case*> by_id;
  for (int i = 0; i < count; ++i) {
    cases.push_back(std::make_unique<Case>(first + i));
    by_id[cases.back()->request.id] = cases.back().get();
  }
  route::FakeBackend local("local", local_model(by_id));
  std::map<std::pair<Where, std::string>, Rig> rigs;
  for (const auto& one : cases)
    rigs.try_emplace({one->where, one->mode}, local, one->where, upstream, closed);

  std::atomic<int> next = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < kAtOnce; ++i) {
    clients.emplace_back([&] {
      for (int at = next++; at < count; at = next++) {
        const Case& one = *cases[static_cast<size_t>(at)];
        const std::string wrong = Check(one).run(*rigs.at({one.where, one.mode}).router, tally);
        if (wrong.empty()) continue;
        const std::lock_guard lock(tally.mutex);
        tally.broken.push_back(one.name() + ": " + wrong);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(local.running(), 0);
}

TEST(FaultStreams, EveryStreamEndsAndNoByteIsLostOrDoubled) {
  ::setenv("no_proxy", "127.0.0.1", 1);
  const int count = number_from_environment("HEDGE_FAULT_STREAMS", 400);
  const int first = number_from_environment("HEDGE_FAULT_FIRST", 0);
  ASSERT_GT(count, 0) << "HEDGE_FAULT_STREAMS: expected a number above 0";
  Tally tally;
  const auto begun = SteadyClock::now();
  for (int at = 0; at < count; at += kRoundStreams) {
    run_round(first + at, std::min(kRoundStreams, count - at), tally);
    if (count > kRoundStreams)
      fmt::print(stderr, "{} of {} streams, {} broken, {:.0f} s\n", std::min(at + kRoundStreams, count),
                 count, tally.broken.size(), seconds_since(begun));
  }
  fmt::print("{:24} {:>8} {:>8} {:>8}\n", "fault", "local", "upstream", "mixed");
  int upstream_wrote = 0;
  for (const auto& [fault, answers] : tally.by_fault) {
    fmt::print("{:24} {:8} {:8} {:8}\n", fault, answers[0], answers[1], answers[2]);
    upstream_wrote += answers[1] + answers[2];
  }
  fmt::print(
      "{} streams in {:.1f} s: {} switched in mid-answer, {} resumed locally, {} with a few bytes said again "
      "that may be "
      "meant, {} broken\n",
      count, seconds_since(begun), tally.switched_up, tally.resumed, tally.ambiguous, tally.broken.size());
  for (size_t i = 0; i < std::min<size_t>(tally.broken.size(), 20); ++i) ADD_FAILURE() << tally.broken[i];
  EXPECT_TRUE(tally.broken.empty()) << tally.broken.size() << " of " << count;
  // A rig that never reached the upstream would pass all of the above.
  if (count >= 200) {
    EXPECT_GT(upstream_wrote, count / 5);
    EXPECT_GT(tally.resumed, count / 5);
    EXPECT_GT(tally.switched_up, count / 10);
  }
}

}  // namespace
}  // namespace hedge
