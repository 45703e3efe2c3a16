// What the scripted upstream is to do with one request, and what it answers: both known in advance, so that a
// test can tell every byte that is lost, doubled or made up.
//
// The answer to a conversation is a function of its last user message: what follows "say: ", to the end of
// the message; without that mark, kDefaultWords words drawn from a fixed list by a hash of the message. It is
// sent in pieces: a word with the white space before it.
//
// A script is written as "key=value" pairs joined by '&' (also by ',' or ' '), after an optional name and
// '?', so that a model name can carry one: "scripted?fault=cut&after=3". Keys:
//   mode      what is done with a trailing assistant message (the start, S) when the answer is A:
//             continue  (default) what follows S in A; if A does not begin with S, a space (unless S ends in
//             white space)
//                       and all of A
//             echo      S and the continuation, S in the first piece (llama-server without flags)
//             spread    the same, in pieces
//             spaced    echo with a space added before S
//             overlap   the last three words of S (or all of it) and the continuation
//             restart   the first half of S, then " actually " and all of A
//             flags     vLLM: continue with both flags, 400 with continue_final_message alone, else A as a
//             new turn fresh     A as a new turn, always
//   fault     none, or one of:
//             stall         nothing more is sent; the connection stays open
//             reset         TCP reset
//             cut           the connection is closed inside the chunked body
//             cut_word      half of the next piece, then cut
//             cut_utf8      the first byte of a two-byte character, in a chunk of its own, then cut
//             cut_json      half of the next event's bytes, then cut
//             bad_json      a chunk that is no JSON         not_object    a chunk that is a JSON list
//             bad_chunk     a broken chunk length           huge_line     a line of 2 MiB
//             error         {"error":...} in mid-stream     response_error  the event response.error, no
//             [DONE] end           a proper end of the body without finish reason and [DONE] no_finish all is
//             sent, [DONE] too, but no finish reason no_done       all is sent but [DONE] empty         200
//             without a body              html          200 with a page of HTML status        an error
//             status, see `status`
//             stop          a proper end with finish reason "stop" and [DONE], too early
//   after     pieces sent before the fault; -1: before the response's head (stall, reset, cut). Default 0
//   after_bytes  above 0: in place of `after`, so many bytes of the response, head included, are sent before
//             stall, reset or cut
//   status    of fault=status (default 500)
//   retry_after_ms  sent as Retry-After (whole seconds) or, when it is none, as retry-after-ms
//   delay_ms, first_delay_ms  before each piece; before the head
//   per_byte  1: one byte per TCP segment
//   strict    1: 400 for fields that OpenAI does not know, and for both max_tokens and max_completion_tokens
//   plain     1: one JSON object although a stream was asked for
//   tokens    1: the server has /apply-template ("<role>content" per message, then "<assistant>"), /tokenize
//   (a
//             token is a byte) and takes lists of ids as a prompt; by the default script alone
//   no_role   1: no role-only first chunk
//   status of 401 comes by itself when the server was given a key and the request has another.
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
