#include "privacy/judge.h"

#include <algorithm>
#include <array>
#include <exception>

#include <fmt/format.h>

#include "base/utf8.h"
#include "privacy/request_texts.h"

namespace hedge::privacy {
namespace {

constexpr size_t kSeamBytes = 64;  // longer than any number that people write in pieces
constexpr std::string_view kSpaces = " \t\r\n";
// Around a line's end: how much is looked at for what could begin there, and how much is scanned then.
constexpr size_t kHintBytes = 64;
constexpr size_t kWindowBytes = 256;
constexpr size_t kHintDigits = 8;  // an IBAN has that many, a card 12

// The first place from `position` on where a character begins.
size_t utf8_begin(std::string_view text, size_t position) {
  while (position < text.size() && utf8_continues(text[position])) ++position;
  return position;
}

// A line that begins with "@" is more often code or a name than the rest of an address.
bool plausible_over_seam(std::string_view joined, const Span& span, size_t seam) {
  return joined[seam] != '@' || ends_in_common_tld(joined.substr(span.begin, span.end - span.begin));
}

// Whether a card, an IBAN or an e-mail address can stand over the end of a line: their signs, or enough
// digits (of any script: bytes beyond ASCII count).
bool hints(std::string_view text) {
  size_t digits = 0;
  for (const char c : text) {
    digits += is_digit(c) || static_cast<unsigned char>(c) >= 0xd9 ? 1 : 0;
    if (c == '@' || c == '%' || c == '&' || c == '[' || c == '(' || c == '{') return true;
  }
  return digits >= kHintDigits;
}

JudgeWork& thread_work() {
  thread_local JudgeWork work;
  return work;
}

}  // namespace

Judge::Judge(const Rules& rules, const Policy& policy, const ScanHooks& hooks, JudgeWork& work)
    : rules_(rules),
      policy_(policy),
      hooks_(hooks),
      work_(work),
      asked_(detectors_of(rules.asked())),
      deadline_(hooks.now() + Milliseconds(policy.scan_ms_max)) {}

void Judge::fail(std::string why) {
  if (unjudged_.empty()) unjudged_ = std::move(why);
}

bool Judge::admit(std::string_view text) {
  bytes_ += static_cast<int64_t>(text.size());
  if (failed()) return false;
  if (bytes_ > policy_.scan_bytes_max) {
    fail(fmt::format("expected at most {} bytes of text, got more", policy_.scan_bytes_max));
  } else if (!utf8_valid(text)) {
    fail("expected UTF-8, got other bytes");
  } else if (hooks_.before_scan != nullptr) {
    if (const Status status = hooks_.before_scan(); !status.ok()) fail("the scan failed");
  }
  if (hooks_.now() >= deadline_)
    fail(fmt::format("expected a scan within {} ms, it took longer", policy_.scan_ms_max));
  return !failed();
}

void Judge::judge(Field field, std::string_view text) {
  if (text.empty() || !admit(text)) return;
  if (rules_.closed(field)) closed_ |= uint32_t{1} << static_cast<size_t>(field);
  const TypeSet asked = rules_.asked(field);
  const bool is_json = is_json_text(text);
  judge_as(field, text, is_json ? asked & ~kTaggedOnly : asked, 0);
  if (is_json) judge_members(field, text);
  judge_base64(text);
  judge_joined(text);
}

void Judge::judge_as(Field field, std::string_view text, TypeSet asked, size_t label) {
  const std::vector<Span>* spans = nullptr;
  if ((asked & kTaggedOnly) != 0) {
    if (!work_.scanner) work_.scanner = std::make_unique<Scanner>();
    spans = &work_.scanner->scan(text);
  } else {
    spans = &detect(text, detectors_of(asked), work_.detect);
  }
  for (const Span& span : *spans) {
    const TypeSet type = counts_behind(label, span, text, asked) ? set_of(span.type) : 0;
    found_ |= type & rules_.local(field);
    masked_ |= type & rules_.masked(field);
  }
}

void Judge::judge_members(Field field, std::string_view json) {
  each_member(json, work_.json, [&](const JsonPiece& piece, std::string_view text, size_t label) {
    judge_as(field, text, types_of(piece, text.substr(label), rules_.asked(field)), label);
    if (json.substr(piece.begin, piece.end - piece.begin).find('\\') != std::string_view::npos)
      judge_base64(text.substr(label));
  });
}

void Judge::judge_rigid(std::string_view text, Rigid kind) {
  if (text.empty() || !admit(text)) return;
  if (kind == Rigid::kSaid && (rules_.asked() & kTaggedOnly) != 0) {
    if (!work_.scanner) work_.scanner = std::make_unique<Scanner>();
    for (const Span& span : work_.scanner->scan(text)) {
      if ((rules_.asked() & set_of(span.type)) != 0) note_hidden(span);
    }
  }
  for (const Span& span : detect(text, asked_, work_.detect)) found_ |= set_of(span.type);
  decode_base64(text, work_.base64, [this](std::string_view piece) {
    for (const Span& span : detect(piece, asked_, work_.detect)) found_ |= set_of(span.type);
  });
}

void Judge::judge_base64(std::string_view text) {
  decode_base64(text, work_.base64, [this](std::string_view piece) {
    for (const Span& span : detect(piece, asked_, work_.detect)) note_hidden(span);
  });
}

// What is split over the parts of a message, which api/ joins by line breaks: found where the text without
// these has it, of the kinds that two lines do not make up by chance. Only the ends of lines around which
// such a thing can stand are looked at, neighbours together.
void Judge::judge_joined(std::string_view text) {
  size_t begin = 0, end = 0;  // of the window under way
  for (size_t at = text.find('\n'); at != std::string_view::npos;) {
    const size_t next = std::min(text.find_first_not_of('\n', at), text.size());
    const size_t from = at - std::min(at, kHintBytes), to = std::min(text.size(), next + kHintBytes);
    if (next < text.size() && hints(text.substr(from, to - from))) {
      const size_t window = at - std::min(at, kWindowBytes);
      if (end > begin && window > end) judge_window(text, begin, end);
      if (end == begin || window > end) begin = utf8_begin(text, window);
      end = utf8_begin(text, std::min(text.size(), next + kWindowBytes));
    }
    at = next < text.size() ? text.find('\n', next) : std::string_view::npos;
  }
  if (end > begin) judge_window(text, begin, end);
}

void Judge::judge_window(std::string_view text, size_t begin, size_t end) {
  static const DetectorSet kJoined =
      detectors_of(set_of("EMAIL_ADDRESS") | set_of("CREDIT_CARD") | set_of("IBAN_CODE"));
  const std::string_view window = text.substr(begin, end - begin);
  std::string& joined = work_.joined;
  joined.clear();
  work_.seams.clear();
  for (size_t from = 0; from < window.size();) {
    const size_t at = std::min(window.find('\n', from), window.size());
    joined.append(window, from, at - from);
    if (at < window.size()) work_.seams.push_back(joined.size());
    from = std::min(window.find_first_not_of('\n', at), window.size());
  }
  for (const Span& span : detect(joined, kJoined & asked_, work_.detect)) {
    const auto seam = std::upper_bound(work_.seams.begin(), work_.seams.end(), span.begin);
    if (seam == work_.seams.end() || *seam >= span.end) continue;
    // What touches the window's edge may be a piece of something else.
    if ((span.begin == 0 && begin > 0) || (span.end == joined.size() && end < text.size())) continue;
    if (plausible_over_seam(joined, span, *seam)) note_hidden(span);
  }
}

void Judge::judge_seam(std::string_view before, std::string_view after) {
  before = before.substr(0, before.find_last_not_of(kSpaces) + 1);  // npos + 1 is 0
  after.remove_prefix(std::min(after.find_first_not_of(kSpaces), after.size()));
  if (failed() || before.empty() || after.empty()) return;
  const std::string_view tail =
      before.substr(utf8_begin(before, before.size() - std::min(before.size(), kSeamBytes)));
  const std::string_view head = after.substr(0, utf8_begin(after, std::min(after.size(), kSeamBytes)));
  for (const std::string_view glue : {"", " "}) {
    std::string& joined = work_.joined;
    joined.assign(tail);
    joined += glue;
    joined += head;
    for (const Span& span : detect(joined, asked_, work_.detect)) {
      if (span.begin >= tail.size() || span.end <= tail.size() + glue.size()) continue;
      if (plausible_over_seam(joined, span, tail.size() + glue.size())) note_hidden(span);
    }
  }
}

Finding Judge::finding() {
  if (hooks_.now() >= deadline_)
    fail(fmt::format("expected a scan within {} ms, it took longer", policy_.scan_ms_max));
  if (failed()) return {Outcome::kUnjudged, unjudged_};
  // What hides beside a value that is masked may be a piece of it: the masked text is judged again, and
  // knows.
  if (masked_ == 0) found_ |= hidden_;
  if (found_ == 0 && closed_ == 0)
    return masked_ == 0 ? Finding{} : Finding{Outcome::kMasked, type_names(masked_)};
  std::string detail = type_names(found_);
  for (size_t i = 0; i < kFieldCount; ++i) {
    if ((closed_ >> i & 1) != 0)
      detail += fmt::format("{}text in {}", detail.empty() ? "" : ", ", kFieldKeys[i]);
  }
  return {Outcome::kFound, std::move(detail)};
}

Finding judge_request(const chat::Request& request, const Rules& rules, const Policy& policy,
                      const ScanHooks& hooks) {
  if (!request.prompt_tokens.empty()) return {Outcome::kUnjudged, "the prompt is token ids"};
  try {
    Judge judge(rules, policy, hooks, thread_work());
    each_text(
        request, [&](Field field, const std::string& text) { judge.judge(field, text); },
        [&](std::string_view text, Rigid kind) { judge.judge_rigid(text, kind); });
    // A number may come in pieces: what one role says goes on in its next message, whatever stands between.
    std::string_view user, assistant;
    for (const chat::Message& message : request.messages) {
      std::string_view& before = message.role == chat::Role::kAssistant ? assistant : user;
      judge.judge_seam(before, message.content);
      before = message.content;
    }
    judge.judge_seam(assistant, request.assistant_prefix);
    return judge.finding();
  } catch (const std::exception&) {  // memory, above all
    return {Outcome::kUnjudged, "the scan failed"};
  }
}

}  // namespace hedge::privacy
