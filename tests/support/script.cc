#include "tests/support/script.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

namespace hedge::test {
namespace {

constexpr std::array kModes = {"continue", "echo",    "spread", "spaced",
                               "overlap",  "restart", "flags",  "fresh"};
constexpr std::array kFaults = {
    "stall",      "reset",      "cut",       "cut_word", "cut_utf8",       "cut_json", "bad_json",
    "not_object", "bad_chunk",  "huge_line", "error",    "response_error", "end",      "no_finish",
    "no_done",    "stall_tail", "cut_tail",  "empty",    "html",           "status",   "stop"};
constexpr std::array kWords = {"river", "stone",  "light", "seven", "garden", "quiet",  "copper", "window",
                               "maple", "signal", "north", "paper", "silver", "harbor", "candle", "orbit"};
constexpr std::string_view kSpaces = " \t\r\n";

bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }

template <typename List>
bool contains(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
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
    if (key == "after")
      script.after = number;
    else if (key == "after_bytes")
      script.after_bytes = number;
    else if (key == "status")
      script.status = number;
    else if (key == "retry_after_ms")
      script.retry_after_ms = number;
    else if (key == "delay_ms")
      script.delay_ms = number;
    else if (key == "first_delay_ms")
      script.first_delay_ms = number;
    else if (key == "per_byte")
      script.per_byte = number != 0;
    else if (key == "strict")
      script.strict = number != 0;
    else if (key == "plain")
      script.plain = number != 0;
    else if (key == "no_role")
      script.no_role = number != 0;
    else if (key == "tokens")
      script.tokens = number != 0;
    else
      return std::nullopt;
  }
  problem.clear();
  return script;
}

std::vector<std::string> all_faults() { return {kFaults.begin(), kFaults.end()}; }

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
