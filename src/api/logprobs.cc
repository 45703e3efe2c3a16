#include "api/logprobs.h"

#include <algorithm>

#include "base/utf8.h"

namespace hedge::api {
namespace {

// OpenAI's stand-in for minus infinity, which JSON cannot say.
constexpr double kLogprobMin = -9999.0;

double finite(float logprob) { return logprob >= kLogprobMin ? static_cast<double>(logprob) : kLogprobMin; }

OrderedJson token_json(const chat::TokenLogprob& token) {
  OrderedJson bytes = OrderedJson::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {
      {"token", utf8_sanitize(token.bytes)}, {"logprob", finite(token.logprob)}, {"bytes", std::move(bytes)}};
}

size_t top_count(const chat::TokenInfo& token, int top) {
  return std::min(token.top.size(), static_cast<size_t>(std::max(top, 0)));
}

size_t leading_space(std::string_view text) { return std::min(text.find_first_not_of(" \n\t"), text.size()); }

// White space at the beginning of an answer's tokens that is not in its text.
size_t missing_space(const std::vector<chat::TokenInfo>& tokens, std::string_view text) {
  std::string bytes;
  for (const chat::TokenInfo& token : tokens) bytes += token.chosen.bytes;
  const size_t of_tokens = leading_space(bytes);
  const size_t of_text = leading_space(text);
  return of_tokens > of_text ? of_tokens - of_text : 0;
}

}  // namespace

size_t TextCursor::pass(std::string_view token) {
  if (!partial_.empty() && !token.empty()) {
    const std::string next = partial_ + token.front();
    const bool goes_on = utf8_complete_prefix(next) == 0 || utf8_valid(next);
    if (!goes_on) {
      count(partial_);
      partial_.clear();
    }
  }
  const size_t begin = characters_;
  partial_ += token;
  const size_t whole = utf8_complete_prefix(partial_);
  count(std::string_view(partial_).substr(0, whole));
  partial_.erase(0, whole);
  return begin;
}

void TextCursor::count(std::string_view whole) {
  const std::string text = utf8_sanitize(whole);
  bytes_ += text.size();
  characters_ += static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void LogprobQueue::push(const chat::Delta& delta) {
  if (!wanted()) return;
  waiting_.insert(waiting_.end(), delta.tokens.begin(), delta.tokens.end());
  if (text_bytes_ == 0 && !delta.text.empty()) missing_space_ = missing_space(waiting_, delta.text);
  text_bytes_ += delta.text.size();
}

std::vector<PlacedToken> LogprobQueue::take() {
  std::vector<PlacedToken> ready;
  while (ready.size() < waiting_.size() && cursor_.bytes() < text_bytes_ + missing_space_) {
    chat::TokenInfo& token = waiting_[ready.size()];
    const size_t begin = cursor_.pass(token.chosen.bytes);
    ready.push_back({std::move(token), begin > missing_space_ ? begin - missing_space_ : 0});
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(ready.size()));
  return ready;
}

OrderedJson chat_logprobs(const std::vector<PlacedToken>& tokens, int top) {
  OrderedJson content = OrderedJson::array();
  for (const auto& [token, offset] : tokens) {
    OrderedJson entry = token_json(token.chosen);
    OrderedJson best = OrderedJson::array();
    for (size_t i = 0; i < top_count(token, top); ++i) best.push_back(token_json(token.top[i]));
    entry["top_logprobs"] = std::move(best);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

OrderedJson text_logprobs(const std::vector<PlacedToken>& tokens, int top) {
  OrderedJson names = OrderedJson::array();
  OrderedJson logprobs = OrderedJson::array();
  OrderedJson tops = OrderedJson::array();
  OrderedJson offsets = OrderedJson::array();
  for (const auto& [token, offset] : tokens) {
    const std::string name = utf8_sanitize(token.chosen.bytes);
    OrderedJson best = OrderedJson::object();
    for (size_t i = 0; i < top_count(token, top); ++i) {
      best[utf8_sanitize(token.top[i].bytes)] = finite(token.top[i].logprob);
    }
    offsets.push_back(offset);
    names.push_back(name);
    logprobs.push_back(finite(token.chosen.logprob));
    tops.push_back(std::move(best));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

}  // namespace hedge::api
