#include "engine/suffix_automaton.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/check.h"

namespace hedge::engine {
namespace {

constexpr int32_t kRoot = 0;
constexpr int32_t kNone = -1;
// After each token the longest so many suffixes learn their latest occurrence. There can be as many as tokens
// (in "aaaa"), and short ones are seldom the longest match.
constexpr int kRefreshedMax = 16;

}  // namespace

SuffixAutomaton::SuffixAutomaton(size_t tokens_max)
    : tokens_max_(tokens_max),
      states_(2 * tokens_max + 1),
      edges_(std::bit_ceil(4 * std::max<size_t>(tokens_max, 1))),
      shift_(64 - static_cast<unsigned>(std::countr_zero(edges_.size()))) {
  HEDGE_CHECK(tokens_max < size_t{1} << 28);
  add_state(0, kNone, 0);
}

void SuffixAutomaton::clear() {
  const size_t states_max = 2 * tokens_max_ + 1;
  base_ += static_cast<uint32_t>(count_);
  if (std::numeric_limits<uint32_t>::max() - base_ < states_max) {
    std::memset(static_cast<void*>(edges_.data()), 0, edges_.size() * sizeof(Edge));
    base_ = 1;
  }
  count_ = 0;
  last_ = kRoot;
  size_ = 0;
  match_ = {};
  add_state(0, kNone, 0);
}

int32_t SuffixAutomaton::add_state(int32_t length, int32_t link, int32_t latest) {
  states_[static_cast<size_t>(count_)] = State{length, link, latest, 0};
  return count_++;
}

SuffixAutomaton::Edge& SuffixAutomaton::at(int32_t state, int32_t token) {
  const uint32_t key = static_cast<uint32_t>(state) + base_;
  // Fibonacci hashing (Knuth, volume 3, 6.4) of both numbers; the shift brings the state into the lower half.
  const uint64_t both = uint64_t{key} << 32 | static_cast<uint32_t>(token);
  const uint64_t mixed = (both ^ both >> 29) * 0x9e3779b97f4a7c15u;
  size_t i = mixed >> shift_;
  while (edges_[i].state >= base_ && (edges_[i].state != key || edges_[i].token != token))
    i = (i + 1) & (edges_.size() - 1);
  return edges_[i];
}

void SuffixAutomaton::put(Edge& place, int32_t state, int32_t token, int32_t target) {
  State& from = states_[static_cast<size_t>(state)];
  place = Edge{static_cast<uint32_t>(state) + base_, token, target, from.edges};
  from.edges = static_cast<uint32_t>(&place - edges_.data()) + 1;
}

// A state for the strings of `state` up to `length`, with the same transitions.
int32_t SuffixAutomaton::clone(int32_t state, int32_t length) {
  const State original = states_[static_cast<size_t>(state)];
  const int32_t copy = add_state(length, original.link, original.latest);
  for (uint32_t e = original.edges; e != 0; e = edges_[e - 1].next) {
    const Edge edge = edges_[e - 1];
    put(at(copy, edge.token), copy, edge.token, edge.target);
  }
  return copy;
}

void SuffixAutomaton::append(int32_t token) {
  HEDGE_CHECK(size_ < tokens_max_);
  const auto state = [this](int32_t i) -> State& { return states_[static_cast<size_t>(i)]; };
  const int32_t position = static_cast<int32_t>(size_++);
  const int32_t whole = add_state(state(last_).length + 1, kRoot, position);
  int32_t p = last_;
  for (; p != kNone; p = state(p).link) {
    Edge& place = at(p, token);
    if (has(place)) break;
    put(place, p, token, whole);
  }
  if (p != kNone) {
    const int32_t target = at(p, token).target;
    int32_t link = target;
    if (state(target).length != state(p).length + 1) {
      link = clone(target, state(p).length + 1);
      for (; p != kNone; p = state(p).link) {
        Edge& edge = at(p, token);
        if (!has(edge) || edge.target != target) break;
        edge.target = link;
      }
      state(target).link = link;
    }
    state(whole).link = link;
  }
  last_ = whole;

  int32_t suffix = state(whole).link;
  match_ = {static_cast<size_t>(state(suffix).length), static_cast<size_t>(state(suffix).latest) + 1};
  if (suffix == kRoot) match_ = {};
  for (int i = 0; i < kRefreshedMax && suffix != kRoot; ++i, suffix = state(suffix).link)
    state(suffix).latest = position;
}

}  // namespace hedge::engine
