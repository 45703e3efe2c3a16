// How probable a model finds answers that somebody has written: per line {"messages": [...], "text": "..."}
// on standard input one line {"tokens": N, "nll": S} on standard output, S the sum of the negative
// log-probabilities (nats) of the answer's N tokens under the model's own chat template.
//
//   score_answers MODEL [THREADS] < answers.jsonl
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/model.h"
#include "text/prompt.h"
#include "text/tokenizer.h"

namespace {

using namespace hedge;
using Json = nlohmann::json;

constexpr int kContext = 2048;
constexpr int kLogitRows = 16;

int fail(const std::string& what) {
  std::fprintf(stderr, "score_answers: %s\n", what.c_str());
  return 1;
}

// Of token `next` after logits[0..vocab).
double nll_of(const float* logits, size_t vocab, int32_t next) {
  float top = logits[0];
  for (size_t i = 1; i < vocab; ++i) top = std::max(top, logits[i]);
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(logits[i] - top);
  return top + std::log(sum) - logits[next];
}

// The sum over tokens[first..].
double nll_of_answer(model::Forward& forward, model::KvCache& cache, const std::vector<int32_t>& tokens,
                     size_t first, size_t vocab) {
  double total = 0;
  const int count = static_cast<int>(tokens.size());
  for (int begin = 0; begin < count; begin += forward.rows_max()) {
    const int end = std::min(count, begin + forward.rows_max());
    std::vector<model::Row> rows;
    std::vector<int> outputs;
    for (int i = begin; i < end; ++i) {
      rows.push_back({tokens[static_cast<size_t>(i)], i, &cache});
      if (i + 1 >= static_cast<int>(first) && i + 1 < count) outputs.push_back(i - begin);
    }
    forward.run(rows, outputs);
    for (int at = 0; at < static_cast<int>(outputs.size()); at += kLogitRows) {
      const int step = std::min(kLogitRows, static_cast<int>(outputs.size()) - at);
      const float* logits = forward.logits(at, step);
      for (int j = 0; j < step; ++j) {
        const int position = begin + outputs[static_cast<size_t>(at + j)];
        total +=
            nll_of(logits + static_cast<size_t>(j) * vocab, vocab, tokens[static_cast<size_t>(position + 1)]);
      }
    }
  }
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return fail("usage: score_answers MODEL [THREADS] < answers.jsonl");
  auto model = model::Model::load(argv[1], argc > 2 ? std::atoi(argv[2]) : 0);
  if (!model.ok()) return fail(model.error().to_text());
  auto tokenizer = text::Tokenizer::load((*model)->file());
  if (!tokenizer.ok()) return fail(tokenizer.error().to_text());
  auto format = text::PromptFormat::load((*model)->file(), **tokenizer);
  if (!format.ok()) return fail(format.error().to_text());
  auto kv_type = model::parse_kv_type("f16");
  if (!kv_type.ok()) return fail(kv_type.error().to_text());
  auto cache = model::KvCache::create((*model)->config(), kContext, *kv_type);
  if (!cache.ok()) return fail(cache.error().to_text());
  const auto forward = (*model)->make_forward(256, kLogitRows, kContext);
  const auto vocab = static_cast<size_t>((*model)->config().vocab);

  std::string line;
  for (long number = 1; std::getline(std::cin, line); ++number) {
    const auto where = [&] { return "line " + std::to_string(number) + ": "; };
    const Json item = Json::parse(line, nullptr, false);
    if (!item.is_object() || !item.contains("text") || !item["text"].is_string() ||
        !item.contains("messages") || !item["messages"].is_array())
      return fail(where() + "expected {\"messages\": [...], \"text\": \"...\"}");
    std::vector<chat::Message> messages;
    for (const Json& message : item["messages"]) {
      const std::string role = message.value("role", "user");
      messages.push_back({role == "system"      ? chat::Role::kSystem
                          : role == "assistant" ? chat::Role::kAssistant
                                                : chat::Role::kUser,
                          message.value("content", ""), ""});
    }
    const auto prompt = (*format)->encode(**tokenizer, messages, "");
    const auto whole = (*format)->encode(**tokenizer, messages, item["text"].get<std::string>());
    if (!prompt.ok() || !whole.ok()) return fail(where() + (prompt.ok() ? whole : prompt).error().to_text());
    if (whole->size() > static_cast<size_t>(kContext))
      return fail(where() + "expected at most " + std::to_string(kContext) + " tokens, got " +
                  std::to_string(whole->size()));
    // The answer begins where the two part.
    size_t first = 0;
    while (first < prompt->size() && first < whole->size() && (*prompt)[first] == (*whole)[first]) ++first;
    const std::vector<int32_t> tokens(whole->begin(), whole->end());
    const double nll =
        first == 0 || first >= tokens.size() ? 0 : nll_of_answer(*forward, **cache, tokens, first, vocab);
    std::printf("{\"tokens\": %zu, \"nll\": %.6f}\n", tokens.size() - first, nll);
    std::fflush(stdout);
  }
  return 0;
}
