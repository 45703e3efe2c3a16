// What makes two conversations the same: a chain of hashes over their messages. Pure functions. Private to
// this folder.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/request.h"

namespace hedge::session {

// 32 bytes.
std::string sha256(std::string_view bytes);
// Hexadecimal, in lower case.
std::string hex_of(std::string_view bytes);

// Without white space at both ends.
std::string_view trimmed(std::string_view text);

// Equal but for white space at both ends of the content, which many clients trim when they send an answer
// back.
// The tools that are called are a part of it, what a backend added to the calls is not: not every client
// sends it back.
bool same_message(const chat::Message& a, const chat::Message& b);

// The hash of a conversation that is one message longer; of the first message, `previous` is empty. SHA-256,
// so that nobody can build a conversation that falls into another's session without knowing all of it.
std::string extend_history(std::string_view previous, const chat::Message& message);

// For each assistant's message, the hash of the conversation up to and with it, in order.
std::vector<std::string> answered_histories(std::span<const chat::Message> messages);

// The messages up to and with the last answer; none in a conversation that only begins.
std::span<const chat::Message> earlier_messages(std::span<const chat::Message> messages);

// The assistant's message whose writer alone may go on: the last one, in a tool loop (it calls tools, or a
// tool's result follows it); else the last one whose calls carry a backend's own state. Null: anybody may.
struct Binding {
  const chat::Message* message = nullptr;
  bool by_state = false;
};
Binding binding_of(std::span<const chat::Message> messages);

}  // namespace hedge::session
