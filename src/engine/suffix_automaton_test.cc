// The automaton against the definition: the longest suffix that also ends earlier, found by comparing.
#include "engine/suffix_automaton.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace hedge::engine {
namespace {

// Length of the longest common suffix of tokens[0, a) and tokens[0, b).
size_t common_suffix(const std::vector<int32_t>& tokens, size_t a, size_t b) {
  size_t n = 0;
  while (n < a && n < b && tokens[a - 1 - n] == tokens[b - 1 - n]) ++n;
  return n;
}

size_t longest_match(const std::vector<int32_t>& tokens) {
  size_t longest = 0;
  for (size_t end = 1; end < tokens.size(); ++end)
    longest = std::max(longest, common_suffix(tokens, end, tokens.size()));
  return longest;
}

// Appends, and holds every match against the definition.
void follow(SuffixAutomaton& automaton, const std::vector<int32_t>& tokens) {
  std::vector<int32_t> before;
  for (const int32_t token : tokens) {
    automaton.append(token);
    before.push_back(token);
    const SuffixAutomaton::Match match = automaton.match();
    ASSERT_EQ(automaton.size(), before.size());
    ASSERT_EQ(match.length, longest_match(before)) << "after " << before.size() << " tokens";
    if (match.length == 0) continue;
    ASSERT_LT(match.next, before.size());
    ASSERT_GE(common_suffix(before, match.next, before.size()), match.length);
  }
}

std::vector<int32_t> random_tokens(Rng& rng, size_t count, uint64_t alphabet) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.below(alphabet));
  return tokens;
}

TEST(SuffixAutomaton, FindsTheLongestSuffixThatStoodBefore) {
  Rng rng(11);
  SuffixAutomaton automaton(300);  // one for all: what earlier sequences left must not be seen
  for (const uint64_t alphabet : {1, 2, 3, 5, 20, 1000}) {
    for (int round = 0; round < 8; ++round) {
      SCOPED_TRACE(testing::Message() << "alphabet " << alphabet << ", round " << round << ", seed 11");
      automaton.clear();
      follow(automaton, random_tokens(rng, 60 + rng.below(240), alphabet));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(SuffixAutomaton, RepetitionsWithErrors) {
  Rng rng(12);
  for (const size_t period : {1, 2, 7, 30}) {
    std::vector<int32_t> tokens = random_tokens(rng, period, 1 << 18);
    while (tokens.size() < 250)
      tokens.push_back(rng.below(20) == 0 ? static_cast<int32_t>(rng.below(1 << 18))
                                          : tokens[tokens.size() - period]);
    SuffixAutomaton automaton(250);
    follow(automaton, tokens);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(SuffixAutomaton, PrefersTheLatestOccurrence) {
  SuffixAutomaton automaton(20);
  for (const int32_t token : {1, 2, 3, 1, 2, 4, 1, 2}) automaton.append(token);
  EXPECT_EQ(automaton.match().length, 2u);
  EXPECT_EQ(automaton.match().next, 5u);  // behind the second "1 2", where 4 follows
}

// The strings with the most states (a b b b ...) and the most transitions (a b ... b c) fit.
TEST(SuffixAutomaton, ExtremeSequencesFit) {
  constexpr size_t kTokens = 1000;
  for (const bool last_is_new : {false, true}) {
    SuffixAutomaton automaton(kTokens);
    std::vector<int32_t> tokens(kTokens, 1);
    tokens.front() = 0;
    if (last_is_new) tokens.back() = 2;
    for (const int32_t token : tokens) automaton.append(token);
    EXPECT_EQ(automaton.match().length, last_is_new ? 0 : kTokens - 2);
  }
}

}  // namespace
}  // namespace hedge::engine
