// Time of the decision before anything runs, on one core: gates, privacy scan, prompt score. Prompts of some
// 500, 2,000 and 8,000 tokens (4 bytes each) are cut from a text; another place each time, so that nothing is
// warm that would not be in use.
//
//   decision_bench TEXT [RUNS]       p50, p99 in ms; heap allocations but of the first ten runs
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "os/file.h"
#include "privacy/outbound_gate.h"
#include "route/gates.h"
#include "route/prompt_score.h"
#include "tests/support/counting_new.h"

namespace {

using namespace hedge;

double quantile(std::vector<double>& values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  const int runs = argc > 2 ? std::atoi(argv[2]) : 2000;
  if (argc < 2 || runs < 1) {
    std::fprintf(stderr, "usage: decision_bench TEXT [RUNS]\n");
    return 2;
  }
  const auto text = os::read_file(argv[1], 64u << 20);
  if (!text.ok() || text->size() < 100'000) {
    std::fprintf(stderr, "decision_bench: expected a text of 100,000 bytes or more at %s\n", argv[1]);
    return 1;
  }
  const route::PromptScore& score = route::PromptScore::embedded();
  const route::Policy policy;
  const privacy::OutboundGate gate(policy.privacy);
  Rng rng(1);
  double sum = 0;
  std::printf("%8s %12s %12s %12s %12s %12s\n", "tokens", "all p50 ms", "all p99 ms", "score p50",
              "score p99", "allocations");
  for (const size_t tokens : {500u, 2000u, 8000u}) {
    std::vector<double> all, alone;
    long allocated = 0;
    for (int run = 0; run < runs; ++run) {
      chat::Request request;
      request.messages.push_back(
          {chat::Role::kUser, text->substr(rng.below(text->size() - 4 * tokens), 4 * tokens), {}});
      std::string& prompt = request.messages[0].content;
      while (!prompt.empty() && utf8_continues(prompt[0])) prompt.erase(0, 1);  // begins in a character
      prompt.resize(utf8_complete_prefix(prompt));
      const long before = hedge::testing::allocations.load();
      const auto begin = SteadyClock::now();
      route::Facts facts;
      facts.has_upstream = facts.upstream_available = true;
      facts.privacy = gate.judge(request).outcome;
      sum += static_cast<double>(route::decide(facts, policy).effect);
      const auto middle = SteadyClock::now();
      sum += score.score(prompt);
      const double of_score = 1000 * seconds_since(middle), of_all = 1000 * seconds_since(begin);
      if (run >= 10) allocated += hedge::testing::allocations.load() - before;
      alone.push_back(of_score);
      all.push_back(of_all);
    }
    std::printf("%8zu %12.3f %12.3f %12.3f %12.3f %12ld\n", tokens, quantile(all, 0.5), quantile(all, 0.99),
                quantile(alone, 0.5), quantile(alone, 0.99), allocated);
  }
  return sum == 0.5 ? 1 : 0;  // keeps the work
}
