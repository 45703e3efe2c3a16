#include "session/history.h"

#include <openssl/sha.h>

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

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool same_message(const chat::Message& a, const chat::Message& b) {
  return a.role == b.role && a.name == b.name && trimmed(a.content) == trimmed(b.content);
}

std::string extend_history(std::string_view previous, const chat::Message& message) {
  std::string bytes;
  append_field(bytes, previous);
  append_field(bytes, chat::to_string(message.role));
  append_field(bytes, message.name);
  append_field(bytes, trimmed(message.content));
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
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

}  // namespace hedge::session
