// The suffix automaton of a growing sequence of tokens: the smallest automaton that accepts every suffix
// (Blumer, Blumer, Haussler, Ehrenfeucht, Chen and Seiferas, 1985). Built token by token in amortised
// constant time, it knows at every moment the longest suffix that has occurred before, and where. Memory is
// reserved at construction and touched as it is needed. One thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/memory.h"

namespace hedge::engine {

class SuffixAutomaton {
 public:
  // The longest suffix of the sequence that also ends earlier.
  struct Match {
    size_t length = 0;  // 0: the last token is new
    size_t next = 0;    // position of the token that followed there, the latest occurrence mostly
  };

  explicit SuffixAutomaton(size_t tokens_max);

  // REQUIRES: size() < tokens_max.
  void append(int32_t token);
  // Constant time: what the table holds becomes stale by its keys.
  void clear();

  size_t size() const { return size_; }
  Match match() const { return match_; }

 private:
  struct State {
    int32_t length;  // of its longest string
    int32_t link;    // state of the longest suffix of these strings that occurs elsewhere, too
    int32_t latest;  // a position at which its strings end, mostly the last one
    uint32_t edges;  // head of its transitions' list: index in the table + 1
  };
  // A transition. The table is open addressing with linear probing, keyed by (state, token).
  struct Edge {
    uint32_t state;  // + base_; keys below base_ are of an earlier sequence, so free
    int32_t token;
    int32_t target;
    uint32_t next;  // of the same state: index in the table + 1
  };

  int32_t add_state(int32_t length, int32_t link, int32_t latest);
  // The transition, or the free place where it belongs.
  Edge& at(int32_t state, int32_t token);
  bool has(const Edge& edge) const { return edge.state >= base_; }
  void put(Edge& place, int32_t state, int32_t token, int32_t target);
  int32_t clone(int32_t state, int32_t length);

  const size_t tokens_max_;
  os::LazyArray<State> states_;  // at most two per token
  os::LazyArray<Edge> edges_;    // a power of two, at least four per token: there are fewer than three
  unsigned shift_ = 0;           // the hash's upper bits are the index
  uint32_t base_ = 1;
  int32_t count_ = 0;  // states
  int32_t last_ = 0;   // state of the whole sequence
  size_t size_ = 0;
  Match match_;
};

}  // namespace hedge::engine
