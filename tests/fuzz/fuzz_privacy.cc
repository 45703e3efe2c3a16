// The scan, masking and unmasking of any text: spans lie inside and in order, what is masked comes back byte
// for byte (JSON in a request: with the same strings), also in pieces of any size, and the gate lets nothing
// pass that it cannot judge.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json_strings.h"
#include "base/utf8.h"
#include "privacy/mask.h"
#include "privacy/outbound_gate.h"

namespace {

using namespace hedge;

void check_spans(std::string_view text, const std::vector<privacy::Span>& spans) {
  size_t end = 0;
  for (const privacy::Span& span : spans) {
    HEDGE_CHECK(span.begin >= end && span.end > span.begin && span.end <= text.size());
    HEDGE_CHECK(span.score >= 0 && span.score <= 1);
    HEDGE_CHECK(privacy::type_index(span.type) < privacy::kTypeCount);
    end = span.end;
  }
}

void check_inverse(std::string_view text, size_t piece_bytes) {
  static privacy::Scanner scanner;
  privacy::PlaceholderTable table;
  const std::string masked = privacy::Masker(scanner, table).mask(text);
  HEDGE_CHECK(privacy::unmask(masked, table) == text);
  privacy::Unmasker unmasker(table);
  std::string back;
  for (size_t at = 0; at < masked.size(); at += piece_bytes)
    back += unmasker.push(std::string_view(masked).substr(at, piece_bytes));
  HEDGE_CHECK(back + unmasker.finish() == text);
}

// The gate masks JSON string by string, and what it writes anew may have other escapes for the same.
std::string with_escapes_resolved(const std::string& text) {
  if (!is_json_text(text)) return text;
  std::string out;
  size_t at = 0, done = 0;
  while (const auto piece = next_json_piece(text, at)) {
    out.append(text, done, piece->begin - done);
    append_json_unescaped(out, std::string_view(text).substr(piece->begin, piece->end - piece->begin));
    done = piece->end;
  }
  return out.append(text, done);
}

void check_gate(const std::string& text) {
  static const privacy::OutboundGate gate = [] {
    privacy::Policy policy;
    for (std::string& word : policy.classes.types) word = "mask";
    return privacy::OutboundGate(policy);
  }();
  chat::Request request;
  request.messages = {{chat::Role::kUser, text, ""}};
  const privacy::Passage passage = gate.pass(request);
  HEDGE_CHECK(utf8_valid(text) || !passage.outbound);
  if (!passage.outbound) return;
  const std::string& sent = passage.outbound->request().messages[0].content;
  if (!passage.table) {
    HEDGE_CHECK(sent == text);
  } else if (is_json_text(text)) {
    HEDGE_CHECK(is_json_text(sent));
    HEDGE_CHECK(with_escapes_resolved(privacy::unmask_json(sent, *passage.table)) ==
                with_escapes_resolved(text));
  } else {
    HEDGE_CHECK(privacy::unmask(sent, *passage.table) == text);
  }
}

}  // namespace

// The first byte chooses the size of the pieces.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  check_spans(text, privacy::detect(text));
  static privacy::Scanner scanner;
  check_spans(text, scanner.scan(text));
  check_inverse(text, 1 + data[0] % 16);
  check_gate(text);
  return 0;
}
