// Questions for probes, and what the local model makes of them: greedy answers with the states that a probe
// reads.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "engine/engine.h"
#include "route/probe_reader.h"
#include "route/probe_train.h"

namespace hedge::cli {

// One line of a file of questions: {"messages": [{"role", "content"} ...]} for a conversation or {"text"} for
// a raw completion; for training also {"accept": PCRE that a right answer matches} and, where they are known,
// {"cell": kind of question, "group": questions of one group are much the same}.
struct ProbeItem {
  std::vector<chat::Message> messages;
  std::string text;
  bool raw = false;
  std::string accept;
  uint32_t cell = 0, group = 0;  // numbers of the names; a missing group is its own
};

inline constexpr size_t kProbeFileBytesMax = 512u << 20;
inline constexpr size_t kProbeItemsMax = 200'000;

// The questions of a file.
Result<std::vector<ProbeItem>> read_probe_items(const std::string& path, bool need_accept);
// Reads the lines of `text`. Errors name `path`:line, what was expected and what came. need_accept: every
// line must have it.
Result<std::vector<ProbeItem>> parse_probe_items(std::string_view text, const std::string& path,
                                                 bool need_accept);

// Whether each answer is right: an answer matches its item's expression. Compiles each expression once.
Result<std::vector<bool>> judge_probe_answers(const std::vector<ProbeItem>& items,
                                              const std::vector<std::string>& answers);

// What an answer's beginning showed, when its token number `tokens` had just been chosen.
struct ProbeMoment {
  int tokens = 0;
  std::vector<float> answer;  // [blocks, dim] mean over the tokens before; all zeros at the first
  std::array<float, route::TokenFacts::kCount> facts{};
  float p_wrong = 0;
};

struct ProbeAnswer {
  std::string text;
  std::vector<float> prompt;         // [2, blocks, dim] as in chat::States
  std::vector<ProbeMoment> moments;  // at the checkpoints (route::kCheckpoints) that it reached
  ProbeMoment end;                   // of the whole answer
};

// What is wanted of each moment: states and facts, to fit a probe to, or what the engine's probe says.
enum class ProbeWish : uint8_t { kStates, kVerdict };

// Answers of at most this many tokens; a raw completion ends with its first whole word.
inline constexpr int kProbeAnswerTokens = 24;

// Greedy answers to all items, as many at once as the engine has slots; each is handed to `take` in the
// items' order, on the calling thread. Stops at the first error, and with kCancelled at an interrupt.
Status answer_probe_items(engine::Engine& engine, const std::vector<ProbeItem>& items, ProbeWish wish,
                          const std::function<void(size_t, ProbeAnswer)>& take);

// Answers to questions whose right answers are known, to fit probes to.
struct LabelledItems {
  std::vector<ProbeAnswer> greedy;            // of each item
  std::vector<route::ProbeExample> examples;  // of each item
};

// Beside the greedy answer `samples` others to each item, drawn at temperature 1 with seeds of their own:
// the same for the same model and items. `progress` is told items done.
Result<LabelledItems> label_probe_items(engine::Engine& engine, const std::vector<ProbeItem>& items,
                                        int samples, const std::function<void(size_t)>& progress);

inline constexpr int kProbeSamples = 2, kProbeSamplesMax = 64;

// The first whole word of a raw completion: the text up to the white space after it. Whole: that white space
// is there.
std::string_view first_word(std::string_view text, bool& whole);

}  // namespace hedge::cli
