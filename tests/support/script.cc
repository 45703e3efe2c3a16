#include "tests/support/script.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <iterator>

namespace hedge::test {
namespace {

struct Named {
  const char* name;
  const char* help;
};

constexpr Named kModes[] = {
    {"continue", "what follows S in A; where A does not begin with S, a space and all of A (default)"},
    {"echo", "S and the continuation, S in the first piece (llama-server without flags)"},
    {"spread", "the same, in pieces"},
    {"spaced", "echo with a space added before S"},
    {"overlap", "the last three words of S, or all of it, and the continuation"},
    {"restart", "the first half of S, then \" actually \" and all of A"},
    {"flags", "vLLM: continue with both flags, 400 with continue_final_message alone, else fresh"},
    {"fresh", "A as a new turn, always"},
};
constexpr Named kFaults[] = {
    {"stall", "nothing more is sent; the connection stays open"},
    {"reset", "TCP reset"},
    {"cut", "the connection is closed inside the chunked body"},
    {"cut_word", "half of the next piece, then cut"},
    {"cut_utf8", "the first byte of a two-byte character, in a chunk of its own, then cut"},
    {"cut_json", "half of the next event's bytes, then cut"},
    {"bad_json", "a chunk that is no JSON"},
    {"not_object", "a chunk that is a JSON list"},
    {"bad_chunk", "a broken chunk length"},
    {"huge_line", "a line of 2 MiB"},
    {"error", "{\"error\":...} in mid-stream"},
    {"response_error", "the event response.error, no [DONE]"},
    {"end", "a proper end of the body without finish reason and [DONE]"},
    {"no_finish", "all is sent, [DONE] too, but no finish reason"},
    {"no_done", "all is sent but [DONE]"},
    {"stall_tail", "all is sent but [DONE], then stall"},
    {"cut_tail", "all is sent but [DONE], then cut"},
    {"empty", "200 without a body"},
    {"html", "200 with a page of HTML"},
    {"status", "an error status, see `status`"},
    {"stop", "a proper end with finish reason \"stop\" and [DONE], too early"},
};

struct Key {
  const char* name;
  void (*set)(Script& script, int value);
  const char* help;
};
constexpr Key kKeys[] = {
    {"after", [](Script& s, int v) { s.after = v; },
     "pieces sent before the fault; -1: before the response's head (stall, reset, cut). Default 0"},
    {"after_bytes", [](Script& s, int v) { s.after_bytes = v; },
     "above 0: in place of `after`, bytes of the response, head included, before stall, reset or cut"},
    {"status", [](Script& s, int v) { s.status = v; }, "of fault=status (default 500)"},
    {"retry_after_ms", [](Script& s, int v) { s.retry_after_ms = v; },
     "sent as Retry-After (whole seconds) or, when it is none, as retry-after-ms"},
    {"delay_ms", [](Script& s, int v) { s.delay_ms = v; }, "before each piece"},
    {"first_delay_ms", [](Script& s, int v) { s.first_delay_ms = v; }, "before the head"},
    {"per_byte", [](Script& s, int v) { s.per_byte = v != 0; }, "1: one byte per TCP segment"},
    {"strict", [](Script& s, int v) { s.strict = v != 0; },
     "1: 400 for fields that OpenAI does not know, and for both max_tokens and max_completion_tokens"},
    {"plain", [](Script& s, int v) { s.plain = v != 0; },
     "1: one JSON object although a stream was asked for"},
    {"tokens", [](Script& s, int v) { s.tokens = v != 0; },
     "1: /apply-template, /tokenize (a token is a byte) and lists of ids as a prompt; default script alone"},
    {"no_role", [](Script& s, int v) { s.no_role = v != 0; }, "1: no role-only first chunk"},
};

constexpr std::array kWords = {"river", "stone",  "light", "seven", "garden", "quiet",  "copper", "window",
                               "maple", "signal", "north", "paper", "silver", "harbor", "candle", "orbit"};
constexpr std::string_view kSpaces = " \t\r\n";

bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }

template <typename List>
auto find_named(const List& list, std::string_view name) {
  return std::find_if(std::begin(list), std::end(list), [&](const auto& item) { return item.name == name; });
}

template <typename List>
bool contains(const List& list, std::string_view name) {
  return find_named(list, name) != std::end(list);
}

template <typename List>
std::string lines_of(const List& list, const std::string& indent) {
  std::string out;
  for (const auto& item : list) {
    std::string name = item.name;
    name.resize(std::max<size_t>(name.size() + 1, 16), ' ');
    out += indent + name + item.help + "\n";
  }
  return out;
}

}  // namespace

std::optional<Script> parse_script(std::string_view text, std::string& problem) {
  if (const size_t mark = text.find('?'); mark != std::string_view::npos) text.remove_prefix(mark + 1);
  Script script;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of("&, "), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view key = pair.substr(0, equals);
    const std::string_view value = pair.substr(std::min(equals + 1, pair.size()));
    problem = std::string(pair);
    if (key == "mode" || key == "fault") {
      const bool known =
          key == "mode" ? contains(kModes, value) : value == "none" || contains(kFaults, value);
      if (!known) return std::nullopt;
      (key == "mode" ? script.mode : script.fault) = value;
      continue;
    }
    int number = 0;
    const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || stop != value.data() + value.size()) return std::nullopt;
    const auto known = find_named(kKeys, key);
    if (known == std::end(kKeys)) return std::nullopt;
    known->set(script, number);
  }
  problem.clear();
  return script;
}

std::vector<std::string> all_faults() {
  std::vector<std::string> names;
  for (const Named& fault : kFaults) names.emplace_back(fault.name);
  return names;
}

std::string script_help() {
  return "mode=MODE       what is done with a trailing assistant message (the start, S) when the answer is "
         "A:\n" +
         lines_of(kModes, "  ") + "fault=FAULT     none, or\n" + lines_of(kFaults, "  ") +
         lines_of(kKeys, "");
}

std::string scripted_answer(std::string_view user_text) {
  constexpr std::string_view kMark = "say: ";
  if (const size_t at = user_text.find(kMark); at != std::string_view::npos) {
    return std::string(user_text.substr(at + kMark.size()));
  }
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : user_text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::string answer;
  for (int i = 0; i < kDefaultWords; ++i) {
    hash = hash * 6364136223846793005u + 1442695040888963407u;
    answer += (i > 0 ? " " : "") + std::string(kWords[hash >> 60]);
  }
  return answer;
}

std::vector<std::string> scripted_pieces(std::string_view text) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && is_space(text[end])) ++end;
    while (end < text.size() && !is_space(text[end])) ++end;
    pieces.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

std::string scripted_reply(const Script& script, const std::string& start, const std::string& answer) {
  if (start.empty() || script.mode == "fresh") return answer;
  const bool known = answer.starts_with(start);
  const std::string rest = known ? answer.substr(start.size()) : (is_space(start.back()) ? "" : " ") + answer;
  if (script.mode == "echo" || script.mode == "spread") return start + rest;
  if (script.mode == "spaced") return " " + start + rest;
  if (script.mode == "overlap") {
    const std::vector<std::string> pieces = scripted_pieces(start);
    std::string tail;
    for (size_t i = pieces.size() - std::min<size_t>(3, pieces.size()); i < pieces.size(); ++i)
      tail += pieces[i];
    return tail.substr(std::min(tail.find_first_not_of(kSpaces), tail.size())) + rest;
  }
  if (script.mode == "restart") {
    const std::vector<std::string> pieces = scripted_pieces(start);
    std::string half;
    for (size_t i = 0; i < (pieces.size() + 1) / 2; ++i) half += pieces[i];
    return half + " actually " + answer;
  }
  return rest;
}

}  // namespace hedge::test
