#include "upstream/dialects/dialect.h"

#include <algorithm>
#include <charconv>

namespace hedge::upstream {

namespace dialects {
#define HEDGE_DIALECT(name) extern const Dialect name;
#include "upstream/dialects/dialect_list.inc"
#undef HEDGE_DIALECT
}  // namespace dialects

namespace {

constexpr const Dialect* kDialects[] = {
#define HEDGE_DIALECT(name) &dialects::name,
#include "upstream/dialects/dialect_list.inc"
#undef HEDGE_DIALECT
};

constexpr int kRetryAfterMaxMs = 3'600'000;
constexpr size_t kIdentifierBytesMax = 64;

// A non-negative decimal number times `scale`; 0 when it is none. Negative, huge and not-a-number end in the
// limits.
int scaled(std::string_view text, double scale) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0)) return 0;
  return static_cast<int>(std::min(value * scale, static_cast<double>(kRetryAfterMaxMs)));
}

}  // namespace

std::string_view HttpReply::header(std::string_view name) const {
  const auto found =
      std::find_if(headers.begin(), headers.end(), [&](const auto& h) { return h.first == name; });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

const Dialect* find_dialect(std::string_view name) {
  for (const Dialect* dialect : kDialects) {
    if (dialect->name == name) return dialect;
  }
  return nullptr;
}

std::vector<const Dialect*> all_dialects() { return {std::begin(kDialects), std::end(kDialects)}; }

std::string turn_start(const chat::Request& request) {
  if (request.assistant_prefix.empty()) return {};
  const bool continues =
      !request.raw && !request.messages.empty() && request.messages.back().role == chat::Role::kAssistant;
  return (continues ? request.messages.back().content : std::string()) + request.assistant_prefix;
}

int retry_after_ms(const HttpReply& reply) {
  if (const int ms = scaled(reply.header("retry-after-ms"), 1); ms > 0) return ms;
  return scaled(reply.header("retry-after"), 1000);
}

std::string_view safe_identifier(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '[' || c == ']';
  };
  const bool safe = text.size() <= kIdentifierBytesMax && std::all_of(text.begin(), text.end(), allowed);
  return safe ? text : std::string_view();
}

}  // namespace hedge::upstream
