#include "route/gates.h"

#include <fmt/format.h>

#include <vector>

#include "base/utf8.h"
#include "privacy/detect.h"

namespace hedge::route {
namespace {

using Condition = bool (*)(const Facts& facts, const Policy& policy);

struct Rule {
  Gate gate;
  Condition matches;
};

constexpr Rule kRules[] = {
#define HEDGE_GATE(name, effect, is_privacy, condition)                                         \
  Rule{Gate{name, effect, is_privacy},                                                          \
       []([[maybe_unused]] const Facts& facts, [[maybe_unused]] const Policy& policy) -> bool { \
         return condition;                                                                      \
       }},
#include "route/gate_list.inc"
#undef HEDGE_GATE
};

constexpr Gate kNoGate{"gate.none", Effect::kOpen, false};

PrivacyFinding judge_texts(const std::vector<std::string_view>& texts) {
  size_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  if (bytes > kJudgedBytesMax) {
    return {Privacy::kUnjudged,
            fmt::format("expected at most {} bytes of text, got {}", kJudgedBytesMax, bytes)};
  }
  std::vector<std::string_view> types;
  for (const std::string_view text : texts) {
    if (!utf8_valid(text)) return {Privacy::kUnjudged, "expected UTF-8, got other bytes"};
    for (const privacy::Span& span : privacy::detect(text)) {
      bool known = false;
      for (const std::string_view type : types) known = known || type == span.type;
      if (!known) types.push_back(span.type);
    }
  }
  if (types.empty()) return {};
  return {Privacy::kFound, fmt::format("{}", fmt::join(types, ", "))};
}

}  // namespace

PrivacyFinding judge_privacy(const chat::Request& request) {
  if (!request.prompt_tokens.empty()) return {Privacy::kUnjudged, "the prompt is token ids"};
  std::vector<std::string_view> texts;
  texts.reserve(2 * request.messages.size() + request.stop.size() + 2);
  for (const chat::Message& message : request.messages) {
    texts.push_back(message.content);
    texts.push_back(message.name);
  }
  texts.push_back(request.prompt);
  texts.push_back(request.assistant_prefix);
  for (const std::string& stop : request.stop) texts.push_back(stop);
  return judge_texts(texts);
}

PrivacyFinding judge_privacy(std::string_view text) { return judge_texts({text}); }

const Gate& decide(const Facts& facts, const Policy& policy) {
  for (const Rule& rule : kRules) {
    if (rule.matches(facts, policy)) return rule.gate;
  }
  return kNoGate;
}

}  // namespace hedge::route
