// What the scripted upstream is to do with one request, and what it answers: both known in advance, so that a
// test can tell every byte that is lost, doubled or made up.
//
// The answer to a conversation is a function of its last user message: what follows "say: ", to the end of
// the message; without that mark, kDefaultWords words drawn from a fixed list by a hash of the message. It is
// sent in pieces: a word with the white space before it.
//
// A script is written as "key=value" pairs joined by '&' (also by ',' or ' '), after an optional name and
// '?', so that a model name can carry one: "scripted?fault=cut&after=3". script_help() lists the keys, modes
// and faults. A status of 401 comes by itself when the server was given a key and the request has another.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hedge::test {

inline constexpr int kDefaultWords = 24;

struct Script {
  std::string mode = "continue";
  std::string fault = "none";
  int after = 0;
  int after_bytes = 0;
  int status = 500;
  int retry_after_ms = 0;
  int delay_ms = 0;
  int first_delay_ms = 0;
  bool per_byte = false;
  bool strict = false;
  bool plain = false;
  bool no_role = false;
  bool tokens = false;
};

// The keys of a script, its modes and faults, a line each.
std::string script_help();

// None when a key, mode or fault is unknown or a number is none; `problem` then says which.
std::optional<Script> parse_script(std::string_view text, std::string& problem);

// The names of all faults but "none", for tests that loop over them.
std::vector<std::string> all_faults();

std::string scripted_answer(std::string_view user_text);
std::vector<std::string> scripted_pieces(std::string_view text);

// What the endpoint sends for answer `answer` when the turn begins with `start` (mode "flags" counts as
// continue).
std::string scripted_reply(const Script& script, const std::string& start, const std::string& answer);

}  // namespace hedge::test
