// What a client asks, free of any wire form. The same value goes to the local engine, to an upstream and to a
// fake.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hedge::chat {

enum class Role : uint8_t { kSystem, kUser, kAssistant, kTool };
const char* to_string(Role role);

// A tool that the assistant wants called. The client calls it and sends the result as a message of the role
// tool.
struct ToolCall {
  std::string id;         // the result names it (Message::tool_call_id)
  std::string name;       // of the function
  std::string arguments;  // JSON as the model wrote it, valid or not
  std::string extra{};    // what else the backend put there, a JSON object: its own state, read by it alone

  bool operator==(const ToolCall&) const = default;
};

struct Message {
  Role role = Role::kUser;
  std::string content;                 // UTF-8
  std::string name;                    // optional participant or tool name
  std::vector<ToolCall> tool_calls{};  // of the assistant
  std::string tool_call_id{};          // of a tool's result

  bool operator==(const Message&) const = default;
};

// Sampling. The defaults are those of llama-server, so that a client moved here sees the same behaviour.
struct Sampling {
  float temperature = 0.8f;     // 0 is greedy
  int top_k = 40;               // 0 turns it off
  float top_p = 0.95f;          // 1 turns it off
  float min_p = 0.05f;          // 0 turns it off
  float repeat_penalty = 1.0f;  // 1 turns it off
  int repeat_last_n = 64;       // tokens that the penalty looks back on
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::optional<uint64_t> seed;  // none: a fresh one

  // Which of the fields above the client set itself; only those are sent upstream.
  bool temperature_set = false;
  bool top_p_set = false;
};

enum class Route : uint8_t { kAuto, kLocal, kUpstream };
const char* to_string(Route route);

// What the request says about its own routing. The privacy gates stand above all of it.
struct Routing {
  Route route = Route::kAuto;
  std::string session;                // empty: derived from the conversation
  bool private_session = false;       // marks the session private from here on
  std::optional<int> escalate_after;  // force the switch after N local tokens
  std::vector<std::string> tags;      // what the client says about the request, for the policy's rules
  std::string tenant;                 // whose key came with it; set by the server, never by the body
  // The backend that began the tool loop in which the conversation stands, or whose state it carries, as
  // writer_of() has it (backend.h): it alone may answer. Set by session/; empty: none is known.
  std::string bound_to;
  bool bound_by_state = false;  // its state, not the loop, is the reason
  // All that was said in the session before, what the client has dropped too. Read when it is asked for, from
  // any thread, while the answer runs. Set by session/; null: nothing is known.
  std::function<Result<std::vector<Message>>()> history;
};

// The way of a request through several Hedges, each of which decides anew: none meets a request twice, and no
// request is passed on without end.
struct Way {
  std::string
      path;  // names of the nodes it has come by, joined by ',', this one last; empty: not from a server
  int hops_left = 1;  // how many times it may still be passed on; 0: it is answered here
};

struct Request {
  std::string id;     // also the id of the decision; set by the server ("hd-...")
  std::string model;  // as the client named it; may be empty

  // Either a conversation or a raw prompt (text, or token ids of the local model).
  std::vector<Message> messages;
  std::string prompt;
  std::vector<int32_t> prompt_tokens;
  bool raw = false;  // true: `prompt` or `prompt_tokens`, no template

  // The tools that the assistant may call and how it is to choose, JSON as the client sent it; empty: none.
  std::string tools, tool_choice;
  std::optional<bool> parallel_tool_calls;

  // The assistant's turn already begins with this text; the answer continues it and does not repeat it.
  std::string assistant_prefix;
  // The tokens of the local model that make exactly that text, where it wrote all of it; else empty.
  std::vector<int32_t> assistant_prefix_tokens;
  // The prefix may end inside a word: re-generate its last token under the constraint that it begins with
  // what stands.
  bool heal_prefix = false;

  Sampling sampling;
  int max_tokens = -1;            // -1: until the end of turn or the context is full
  std::vector<std::string> stop;  // the answer ends before the first of these
  bool ignore_eos = false;
  bool want_confidence = false;  // fill TokenInfo::margin and entropy, and p_wrong where there is a probe
  // With the first token, every so many tokens and the end come the model's states (event.h); 0: never. Only
  // an engine that was told to keep some has them.
  int states_every = 0;
  int top_logprobs = -1;  // -1: none; 0: of the chosen token; n: also of the n best

  int choices = 1;  // answers that the client wants to this prompt; this request is for one of them

  Routing routing;
  Way way;
};

}  // namespace hedge::chat
