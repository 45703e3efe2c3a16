#include "route/prompt_features.h"

#include <algorithm>
#include <bitset>
#include <cmath>
#include <initializer_list>

#include "base/hash.h"

namespace hedge::route {
namespace {

constexpr size_t kWordBytesMax = 32;
constexpr int kChoicesMax = 10;

enum class Kind : uint8_t { kSpace, kLetter, kDigit, kOther };

constexpr std::array<Kind, 256> make_kinds() {
  std::array<Kind, 256> kinds{};
  for (int c = 0; c < 256; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
    kinds[static_cast<size_t>(c)] = letter                  ? Kind::kLetter
                                    : c >= '0' && c <= '9'  ? Kind::kDigit
                                    : c <= ' ' || c == 0x7f ? Kind::kSpace
                                                            : Kind::kOther;
  }
  return kinds;
}
constexpr std::array<Kind, 256> kKinds = make_kinds();

Kind kind_of(char c) { return kKinds[static_cast<uint8_t>(c)]; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// The visitor is a template parameter here, so that scoring pays no virtual call per word.
template <typename Visit>
void each_word(std::string_view text, Visit&& visit) {
  char word[kWordBytesMax];
  for (size_t at = 0; at < text.size();) {
    const Kind kind = kind_of(text[at]);
    if (kind == Kind::kSpace) {
      ++at;
      continue;
    }
    size_t length = 0;
    const size_t begin = at;
    do {
      if (length < kWordBytesMax) word[length++] = lower(text[at]);
      ++at;
    } while (kind != Kind::kOther && at < text.size() && kind_of(text[at]) == kind);
    visit(std::string_view(word, length), begin, kind);
  }
}

uint32_t mix(uint64_t key) {
  key *= 0x9e3779b97f4a7c15u;
  key ^= key >> 32;
  key *= 0xd6e8feb86659fd93u;
  return static_cast<uint32_t>(key >> 40);
}

float ln1p(double count) { return static_cast<float>(std::log1p(count)); }

// A line "A. text" or "A) text".
bool is_choice(std::string_view line) {
  return line.size() > 3 && line[0] >= 'A' && line[0] <= 'J' && (line[1] == '.' || line[1] == ')') &&
         line[2] == ' ';
}

struct Lines {
  size_t question_end = 0;  // byte where the choices begin, or the end
  int lines = 0, choices = 0, numeric_choices = 0;
  double sum = 0, squares = 0, longest = 0;
};

Lines look_at_lines(std::string_view text) {
  Lines out;
  out.question_end = text.size();
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view line = text.substr(begin, end - begin);
    ++out.lines;
    if (out.choices < kChoicesMax && begin > 0 && is_choice(line)) {
      if (out.choices++ == 0) out.question_end = begin;
      const std::string_view choice = line.substr(3);
      out.numeric_choices +=
          std::none_of(choice.begin(), choice.end(), [](char c) { return kind_of(c) == Kind::kLetter; });
      const auto bytes = static_cast<double>(choice.size());
      out.sum += bytes;
      out.squares += bytes * bytes;
      out.longest = std::max(out.longest, bytes);
    }
    begin = end + 1;
  }
  return out;
}

bool is_any_of(std::string_view word, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

}  // namespace

uint32_t hash_word(std::string_view word) {
  const uint64_t hash = fnv1a(word);
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

void visit_words(std::string_view text, WordVisitor& visitor) {
  each_word(text, [&](std::string_view word, size_t, Kind) { visitor.visit(word); });
}

DenseFeatures extract(std::string_view text, const TopicTable& topics, BucketVisitor& visitor) {
  text = text.substr(0, kScoredBytesMax);
  DenseFeatures out;
  std::bitset<kBuckets> seen;  // 16 KiB of stack
  const auto first_time = [&seen, &visitor](uint32_t bucket) {
    if (seen.test(bucket)) return false;
    seen.set(bucket);
    visitor.visit(bucket);
    return true;
  };
  const Lines lines = look_at_lines(text);
  std::array<int32_t, kTopicsMax> sums{};
  int distinct = 0, words = 0, numbers = 0, question_numbers = 0, quantities = 0;
  double word_bytes = 0;
  bool negation = false, question_word = false, first = true;
  uint32_t before = 0;
  each_word(text, [&](std::string_view word, size_t begin, Kind kind) {
    const uint32_t hash = hash_word(word);
    if (first_time(mix(hash) % kBuckets)) {
      ++distinct;
      topics.add(hash, sums);
    }
    if (!first) first_time(mix((uint64_t{before} << 32) + hash + 1) % kBuckets);
    const bool in_question = begin < lines.question_end;
    if (kind == Kind::kDigit) {
      ++numbers;
      question_numbers += in_question;
    } else if (kind == Kind::kLetter) {
      ++words;
      word_bytes += static_cast<double>(word.size());
      if (first) question_word = is_any_of(word, {"what", "which", "who", "when", "where", "how", "why"});
      negation |= in_question && is_any_of(word, {"not", "except", "false", "incorrect", "least", "never"});
      quantities += is_any_of(word, {"each", "every", "per", "half", "twice", "times", "percent", "total",
                                     "more", "less", "left", "many", "remaining", "rest"});
    }
    before = hash;
    first = false;
  });
  topics.to_probabilities(sums, distinct, out.topics);

  int math = 0, code = 0, question_marks = 0, sentences = 0, quotes = 0, capitals = 0;
  for (const char c : text) {
    math += c == '=' || c == '+' || c == '*' || c == '/' || c == '^' || c == '<' || c == '>' || c == '$' ||
            c == '\\';
    code += c == '{' || c == '}' || c == ';' || c == '(' || c == ')' || c == '[' || c == ']' || c == '_' ||
            c == '#';
    question_marks += c == '?';
    sentences += c == '.' || c == '?' || c == '!';
    quotes += c == '"';
    capitals += c >= 'A' && c <= 'Z';
  }
  const double count = std::max(lines.choices, 1);
  const double mean = lines.sum / count;
  const auto set = [&out](Shape shape, double value) {
    out.shape[static_cast<size_t>(shape)] = static_cast<float>(value);
  };
  set(Shape::kLength, ln1p(static_cast<double>(text.size())));
  set(Shape::kQuestionLength, ln1p(static_cast<double>(lines.question_end)));
  set(Shape::kChoiceLength, ln1p(mean));
  set(Shape::kChoiceLongest, ln1p(lines.longest));
  set(Shape::kChoiceSpread, std::sqrt(std::max(lines.squares / count - mean * mean, 0.0)) / (mean + 1));
  set(Shape::kChoices, lines.choices);
  set(Shape::kNumericChoices, lines.numeric_choices);
  set(Shape::kNumbers, ln1p(numbers));
  set(Shape::kQuestionNumbers, ln1p(question_numbers));
  set(Shape::kMath, ln1p(math));
  set(Shape::kCode, ln1p(code));
  set(Shape::kWordLength, word_bytes / std::max(words, 1));
  set(Shape::kQuestionMarks, ln1p(question_marks));
  set(Shape::kSentences, ln1p(sentences));
  set(Shape::kLines, ln1p(lines.lines));
  set(Shape::kQuotes, ln1p(quotes));
  set(Shape::kCapitals, ln1p(100.0 * capitals / static_cast<double>(text.size() + 1)));
  set(Shape::kBlank, text.find("___") != std::string_view::npos);
  set(Shape::kNegation, negation);
  set(Shape::kQuestionWord, question_word);
  set(Shape::kQuantity, ln1p(quantities));
  return out;
}

}  // namespace hedge::route
