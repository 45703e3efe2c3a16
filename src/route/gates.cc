#include "route/gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "privacy/base64.h"
#include "privacy/detect.h"

namespace hedge::route {
namespace {

using Condition = bool (*)(const Facts& facts, const Policy& policy);

struct GateRule {
  Gate gate;
  Condition matches;
};

constexpr GateRule kRules[] = {
#define HEDGE_GATE(name, effect, is_privacy, condition)                                             \
  GateRule{Gate{name, effect, is_privacy},                                                          \
           []([[maybe_unused]] const Facts& facts, [[maybe_unused]] const Policy& policy) -> bool { \
             return condition;                                                                      \
           }},
#include "route/gate_list.inc"
#undef HEDGE_GATE
};

constexpr Gate kNoGate{"gate.none", Effect::kOpen, false};

class Judge {
 public:
  void judge(std::string_view text) {
    if (!admit(text)) return;
    for (const privacy::Span& span : privacy::detect_private(text)) note(span.type);
    for (const std::string& decoded : privacy::decoded_base64(text)) {
      for (const privacy::Span& span : privacy::detect_private(decoded)) note(span.type);
    }
    judge_joined(text);
  }
  // Finds only what begins in one text and ends in the other, as they are and with a space between; white
  // space around the seam is nobody's.
  // REQUIRES that both have been judged.
  void judge_seam(std::string_view before, std::string_view after) {
    before = before.substr(0, before.find_last_not_of(kSpaces) + 1);  // npos + 1 is 0
    after.remove_prefix(std::min(after.find_first_not_of(kSpaces), after.size()));
    if (!unjudged_.empty() || before.empty() || after.empty()) return;
    const std::string_view tail =
        before.substr(utf8_begin(before, before.size() - std::min(before.size(), kSeamBytes)));
    const std::string_view head = after.substr(0, utf8_begin(after, std::min(after.size(), kSeamBytes)));
    for (const std::string_view glue : {"", " "}) {
      const std::string joined = fmt::format("{}{}{}", tail, glue, head);
      for (const privacy::Span& span : privacy::detect_private(joined)) {
        if (span.begin >= tail.size() || span.end <= tail.size() + glue.size()) continue;
        if (plausible_over_seam(joined, span, tail.size() + glue.size())) note(span.type);
      }
    }
  }
  PrivacyFinding finding() const {
    if (!unjudged_.empty()) return {Privacy::kUnjudged, unjudged_};
    if (types_.empty()) return {};
    return {Privacy::kFound, fmt::format("{}", fmt::join(types_, ", "))};
  }

 private:
  static constexpr size_t kSeamBytes = 64;  // longer than any number that people write in pieces
  static constexpr std::string_view kSpaces = " \t\r\n";

  // What is split over the parts of a message, which api/ joins by line breaks: found where the text without
  // these has it, of the kinds that two lines do not make up by chance.
  void judge_joined(std::string_view text) {
    std::string joined;
    std::vector<size_t> seams;  // in `joined`, rising
    size_t begin = 0;
    for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', begin)) {
      joined.append(text, begin, at - begin);
      seams.push_back(joined.size());
      begin = std::min(text.find_first_not_of('\n', at), text.size());
    }
    if (seams.empty()) return;
    joined.append(text, begin);
    for (const privacy::Span& span : privacy::detect_private(joined)) {
      if (span.type != "EMAIL_ADDRESS" && span.type != "CREDIT_CARD" && span.type != "IBAN_CODE") continue;
      const auto seam = std::upper_bound(seams.begin(), seams.end(), span.begin);
      if (seam == seams.end() || *seam >= span.end) continue;
      if (plausible_over_seam(joined, span, *seam)) note(span.type);
    }
  }

  // A line that begins with "@" is more often code or a name than the rest of an address.
  static bool plausible_over_seam(std::string_view joined, const privacy::Span& span, size_t seam) {
    return joined[seam] != '@' ||
           privacy::ends_in_common_tld(joined.substr(span.begin, span.end - span.begin));
  }

  bool admit(std::string_view text) {
    bytes_ += text.size();
    if (!unjudged_.empty()) return false;
    if (bytes_ > kJudgedBytesMax) {
      unjudged_ = fmt::format("expected at most {} bytes of text, got more", kJudgedBytesMax);
    } else if (!utf8_valid(text)) {
      unjudged_ = "expected UTF-8, got other bytes";
    }
    return unjudged_.empty();
  }
  void note(std::string_view type) {
    if (std::find(types_.begin(), types_.end(), type) == types_.end()) types_.push_back(type);
  }
  // The first place from `position` on where a character begins.
  static size_t utf8_begin(std::string_view text, size_t position) {
    while (position < text.size() && utf8_continues(text[position])) ++position;
    return position;
  }

  size_t bytes_ = 0;
  std::string unjudged_;  // why nothing can be said
  std::vector<std::string_view> types_;
};

}  // namespace

PrivacyFinding judge_privacy(const chat::Request& request) {
  if (!request.prompt_tokens.empty()) return {Privacy::kUnjudged, "the prompt is token ids"};
  Judge judge;
  for (const chat::Message& message : request.messages) {
    judge.judge(message.content);
    judge.judge(message.name);
  }
  judge.judge(request.prompt);
  judge.judge(request.assistant_prefix);
  for (const std::string& stop : request.stop) judge.judge(stop);
  // A number may come in pieces: what one role says goes on in its next message, whatever stands between.
  std::string_view user, assistant;
  for (const chat::Message& message : request.messages) {
    std::string_view& before = message.role == chat::Role::kAssistant ? assistant : user;
    judge.judge_seam(before, message.content);
    before = message.content;
  }
  judge.judge_seam(assistant, request.assistant_prefix);
  return judge.finding();
}

PrivacyFinding judge_privacy(std::string_view text) {
  Judge judge;
  judge.judge(text);
  return judge.finding();
}

const Gate& decide(const Facts& facts, const Policy& policy) {
  for (const GateRule& rule : kRules) {
    if (rule.matches(facts, policy)) return rule.gate;
  }
  return kNoGate;
}

}  // namespace hedge::route
