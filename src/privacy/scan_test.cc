#include "privacy/scan.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "base/utf8.h"
#include "privacy/assets.h"
#include "privacy/augment.h"
#include "privacy/evaluate.h"
#include "privacy/train.h"

namespace hedge::privacy {
namespace {

std::string describe(std::string_view text) {
  Scanner scanner;
  std::string out;
  for (const Span& span : scanner.scan(text)) {
    if (!out.empty()) out += " ";
    out += std::string(span.type) + "[" + std::string(text.substr(span.begin, span.end - span.begin)) + "]";
  }
  return out;
}

// What nobody who reads the sentence would miss; none of them is a training text.
TEST(Scan, PlainSentences) {
  EXPECT_EQ(describe("My name is Ingrid Solheim, write to ingrid@example.no"),
            "PERSON[Ingrid Solheim] EMAIL_ADDRESS[ingrid@example.no]");
  EXPECT_EQ(describe("We flew to Portugal last week."), "GPE[Portugal]");
  EXPECT_EQ(describe("How do I bake bread without yeast?"), "");
  EXPECT_EQ(describe("The invoice has 3 pages and 12 lines."), "");
}

TEST(Scan, SpansAreSortedWithinTheTextAndDoNotOverlap) {
  Rng rng(99);
  Scanner scanner;
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint64_t n = rng.below(900); n > 0; --n) {
      const uint64_t kind = rng.below(8);
      if (kind == 0)
        text += "Anna Berg ";
      else if (kind == 1)
        text += "\n";
      else if (kind == 2)
        text += "4111111111111111 ";
      else if (kind == 3)
        text.push_back(static_cast<char>(rng.below(256)));  // broken UTF-8, too
      else
        text.push_back(static_cast<char>(' ' + rng.below(95)));
    }
    size_t end = 0;
    for (const Span& span : scanner.scan(text)) {
      ASSERT_LE(end, span.begin) << "round " << round;
      ASSERT_LT(span.begin, span.end);
      ASSERT_LE(span.end, text.size());
      ASSERT_GE(span.score, 0);
      ASSERT_LE(span.score, 1);
      end = span.end;
    }
  }
}

// What is found does not depend on how much stands before it.
TEST(Scan, LongTexts) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "This line says nothing about anybody.\n";
  const size_t before = text.size();
  text += "My name is Ingrid Solheim.\n";
  Scanner scanner;
  const std::vector<Span>& spans = scanner.scan(text);
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].type, "PERSON");
  EXPECT_EQ(spans[0].begin, before + 11);
}

TEST(Tagger, RefusesWhatAreNoWeights) {
  const std::string_view good = embedded_tagger();
  alignas(8) static std::array<char, 1 << 22> copy;
  ASSERT_LE(good.size(), copy.size());
  const auto opens = [&](size_t size) { return Tagger::open({copy.data(), size}).ok(); };
  std::memcpy(copy.data(), good.data(), good.size());
  EXPECT_TRUE(opens(good.size()));
  for (const size_t size : {size_t{0}, size_t{7}, sizeof(WeightsHeader), good.size() - 1})
    EXPECT_FALSE(opens(size)) << size;
  for (size_t byte = 0; byte < 24; ++byte) {  // magic, version, labels, sizes
    copy[byte] = static_cast<char>(copy[byte] ^ 0x55);
    EXPECT_FALSE(opens(good.size())) << byte;
    copy[byte] = good[byte];
  }
}

TEST(WordLists, NamesTheLineThatIsNone) {
  const Result<WordLists> lists = WordLists::parse("first\ten\tAnna\nlast\ten\n");
  ASSERT_FALSE(lists.ok());
  EXPECT_NE(lists.error().detail.find("line 2"), std::string::npos) << lists.error().detail;
}

// Two types learnt from a handful of texts: the whole way from texts to a tagger that knows them again.
TEST(Train, LearnsFromAFewTexts) {
  TrainData data;
  std::string lists;
  for (const char* kind :
       {"first", "last", "city", "country", "street", "company", "job", "region", "abbreviation", "word"})
    lists += std::string(kind) + "\ten\tPlaceholder\n";
  Result<WordLists> parsed = WordLists::parse(lists);
  ASSERT_TRUE(parsed.ok());
  data.lists = *parsed;
  for (const char* name : {"Anna", "Boris", "Carla", "Deniz", "Emil", "Freya"}) {
    const std::string text = std::string("hello ") + name + " from here";
    data.marked.push_back(Example{text, 0, {Mark{"PERSON", 6, 6 + std::strlen(name)}}});
    data.clean.push_back(Example{std::string("the word ") + name + " is short", -1, {}});
  }
  TrainOptions options;
  options.copies = 0;
  options.epochs = 30;
  const Result<std::string> bytes = train_tagger(data, options);
  ASSERT_TRUE(bytes.ok()) << bytes.error().detail;
  std::vector<uint64_t> aligned((bytes->size() + 7) / 8);
  std::memcpy(aligned.data(), bytes->data(), bytes->size());
  const Result<Tagger> tagger = Tagger::open({reinterpret_cast<const char*>(aligned.data()), bytes->size()});
  ASSERT_TRUE(tagger.ok()) << tagger.error().detail;
  Scanner scanner(*tagger);
  const std::vector<Span>& spans = scanner.scan("hello Gustav from here");
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].type, "PERSON");
  EXPECT_EQ(spans[0].begin, 6u);
  EXPECT_EQ(spans[0].end, 12u);
  EXPECT_TRUE(scanner.scan("the word Gustav is short").empty());
}

TEST(Evaluate, CountsByBothRules) {
  const Example example{"I am Jane Roe of Oslo", 0, {Mark{"PERSON", 5, 13}, Mark{"GPE", 17, 21}}};
  Scores scores;
  add_scores(example, {Span{"PERSON", 5, 9, 1}, Span{"ORGANIZATION", 17, 21, 1}}, scores);
  EXPECT_EQ(scores.strict_all.right, 0u);
  EXPECT_EQ(scores.strict_all.predicted, 2u);
  EXPECT_EQ(scores.strict_all.marked, 2u);
  EXPECT_EQ(scores.token_all.right, 2u);    // Jane and Oslo are inside of something both times
  EXPECT_EQ(scores.token_typed.right, 1u);  // Jane
  EXPECT_EQ(scores.token_all.marked, 3u);
  EXPECT_EQ(scores.overlap.at("PERSON").right, 1u);
  EXPECT_NEAR((Counts{1, 1, 2}).f(2), 5 * 0.5 / (4 * 1 + 0.5), 1e-12);
}

// The weights in the program are those that were trained: on the texts they learnt from they must do well.
// What they do on texts they have not seen is measured by `hedge privacy eval --folds` (docs/privacy.md).
TEST(Scan, KnowsThePresidioSet) {
  const char* shared = std::getenv("HEDGE_SHARED_DATA");
  std::ifstream file(std::string(shared ? shared : "") + "/privacy/synth_dataset_v2.json");
  if (shared == nullptr || !file)
    GTEST_SKIP() << "privacy/synth_dataset_v2.json of the shared data is absent";
  const nlohmann::json set = nlohmann::json::parse(file);
  Scanner scanner;
  Scores scores;
  for (const auto& item : set) {
    Example example;
    example.text = item["full_text"];
    std::vector<size_t> offsets;
    for (size_t position = 0; position < example.text.size(); utf8_next(example.text, position))
      offsets.push_back(position);
    offsets.push_back(example.text.size());
    for (const auto& span : item["spans"])
      example.marks.push_back(Mark{span["entity_type"], offsets[span["start_position"].get<size_t>()],
                                   offsets[span["end_position"].get<size_t>()]});
    add_scores(example, scanner.scan(example.text), scores);
  }
  EXPECT_GE(scores.token_all.f(2), 0.97);
  EXPECT_GE(scores.token_typed.f(2), 0.95);
  for (const char* type :
       {"CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "DOMAIN_NAME"})
    EXPECT_GE(scores.overlap[type].recall(), 0.99) << type;
}

}  // namespace
}  // namespace hedge::privacy
