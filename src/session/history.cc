#include "session/history.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cstdint>

namespace hedge::session {
namespace {

// The length before the bytes, so that no two lists of fields run together into the same bytes.
void append_field(std::string& out, std::string_view field) {
  const uint64_t size = field.size();
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(size >> shift & 0xff));
  out.append(field);
}

}  // namespace

std::string sha256(std::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string hex_of(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool same_message(const chat::Message& a, const chat::Message& b) {
  return a.role == b.role && a.name == b.name && trimmed(a.content) == trimmed(b.content) &&
         a.tool_call_id == b.tool_call_id &&
         std::equal(a.tool_calls.begin(), a.tool_calls.end(), b.tool_calls.begin(), b.tool_calls.end(),
                    [](const chat::ToolCall& x, const chat::ToolCall& y) {
                      return x.id == y.id && x.name == y.name && x.arguments == y.arguments;
                    });
}

std::string extend_history(std::string_view previous, const chat::Message& message) {
  std::string bytes;
  append_field(bytes, previous);
  append_field(bytes, chat::to_string(message.role));
  append_field(bytes, message.name);
  append_field(bytes, trimmed(message.content));
  // Only where there are some, so that conversations of earlier versions keep their hashes.
  if (!message.tool_calls.empty() || !message.tool_call_id.empty()) {
    append_field(bytes, message.tool_call_id);
    for (const chat::ToolCall& call : message.tool_calls) {
      append_field(bytes, call.id);
      append_field(bytes, call.name);
      append_field(bytes, call.arguments);
    }
  }
  return sha256(bytes);
}

std::vector<std::string> answered_histories(std::span<const chat::Message> messages) {
  std::vector<std::string> hashes;
  std::string hash;
  for (const chat::Message& message : messages) {
    hash = extend_history(hash, message);
    if (message.role == chat::Role::kAssistant) hashes.push_back(hash);
  }
  return hashes;
}

std::span<const chat::Message> earlier_messages(std::span<const chat::Message> messages) {
  size_t count = messages.size();
  while (count > 0 && messages[count - 1].role != chat::Role::kAssistant) --count;
  return messages.first(count);
}

Binding binding_of(std::span<const chat::Message> messages) {
  bool result_follows = false, is_last = true;
  for (size_t i = messages.size(); i-- > 0;) {
    const chat::Message& message = messages[i];
    result_follows |= message.role == chat::Role::kTool;
    if (message.role != chat::Role::kAssistant) continue;
    if (is_last && (result_follows || !message.tool_calls.empty())) return {&message, false};
    is_last = false;
    const bool has_state = std::any_of(message.tool_calls.begin(), message.tool_calls.end(),
                                       [](const chat::ToolCall& call) { return !call.extra.empty(); });
    if (has_state) return {&message, true};
  }
  return {};
}

}  // namespace hedge::session
