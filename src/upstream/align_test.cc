#include "upstream/align.h"

#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hedge::upstream {
namespace {

struct Aligned {
  std::string text;
  Alignment alignment;

  bool operator==(const Aligned&) const = default;
};

void PrintTo(const Aligned& a, std::ostream* out) {
  *out << '"' << a.text << "\", " << static_cast<int>(a.alignment);
}

Aligned align_pieces(const std::string& start, const std::vector<std::string>& pieces,
                     Expect expect = Expect::kUnknown) {
  Aligner aligner(start, expect);
  std::string out;
  for (const std::string& piece : pieces) out += aligner.push(piece);
  out += aligner.finish();
  EXPECT_EQ(aligner.held_bytes(), 0u);
  return {out, aligner.alignment()};
}

// The same in one piece and byte by byte: the outcome may not depend on the pieces.
Aligned align(const std::string& start, const std::string& reply, Expect expect = Expect::kUnknown) {
  const Aligned whole = align_pieces(start, {reply}, expect);
  std::vector<std::string> bytes;
  for (const char c : reply) bytes.emplace_back(1, c);
  EXPECT_EQ(align_pieces(start, bytes, expect), whole);
  return whole;
}

uint64_t seed() {
  const char* given = std::getenv("HEDGE_SEED");
  const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 10) : 20261121;
  ::testing::Test::RecordProperty("seed", std::to_string(value));
  return value;
}

std::vector<std::string> random_pieces(Rng& rng, const std::string& text) {
  std::vector<std::string> pieces;
  const size_t longest = 1 + rng.below(40);
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::min<size_t>(rng.below(longest + 1), text.size() - at);  // empty pieces too
    pieces.push_back(text.substr(at, size));
    at += size;
  }
  return pieces;
}

constexpr auto kContinuation = Alignment::kContinuation;
constexpr auto kEcho = Alignment::kEcho;
constexpr auto kOverlap = Alignment::kOverlap;
constexpr auto kRestart = Alignment::kRestart;

TEST(Align, ContinuationAloneStaysByteForByte) {
  EXPECT_EQ(align("The capital of France", " is Paris."), (Aligned{" is Paris.", kContinuation}));
  EXPECT_EQ(align("The capital of Ja", "pan is Tokyo."), (Aligned{"pan is Tokyo.", kContinuation}));
  EXPECT_EQ(align("Hello", ", world"), (Aligned{", world", kContinuation}));
  EXPECT_EQ(align("Hello", ""), (Aligned{"", kContinuation}));
  EXPECT_EQ(align("", "Hello"), (Aligned{"Hello", kContinuation}));
  EXPECT_EQ(align("", " Hello"), (Aligned{" Hello", kContinuation}));
  EXPECT_EQ(align("Hello", "\n\n  - one"), (Aligned{"\n\n  - one", kContinuation}));
  EXPECT_EQ(align("x", std::string(500, ' ') + "y"), (Aligned{std::string(500, ' ') + "y", kContinuation}));
}

TEST(Align, WordsThatComeAgainAreNotEaten) {
  EXPECT_EQ(align("the the", " the"), (Aligned{" the", kContinuation}));
  EXPECT_EQ(align("the", " the best"), (Aligned{" the best", kContinuation}));
  EXPECT_EQ(align("I said no", " no, I will not"), (Aligned{" no, I will not", kContinuation}));
  EXPECT_EQ(align("very, very", " very, very good"), (Aligned{" very, very good", kContinuation}));
  EXPECT_EQ(align("The cat sat on the mat. The", " cat sat on the bed."),
            (Aligned{" cat sat on the bed.", kContinuation}));
  EXPECT_EQ(align("- ", "- "), (Aligned{"- ", kContinuation}));
  EXPECT_EQ(align("**", "**bold**"), (Aligned{"**bold**", kContinuation}));
  EXPECT_EQ(align("1", "10"), (Aligned{"10", kContinuation}));
  // A reply that ends while it is still a part of the start may be meant, over a blank.
  EXPECT_EQ(align("The capital of France", " The cap"), (Aligned{" The cap", kContinuation}));
}

TEST(Align, TextThatRepeatsItselfMayGoOn) {
  const std::string zeros = "0, 0, 0, 0, 0, 0, 0, 0,";
  EXPECT_EQ(align(zeros, " " + zeros + " 1"), (Aligned{" " + zeros + " 1", kContinuation}));
  EXPECT_EQ(align("zeros: " + zeros, " " + zeros + " 1"), (Aligned{" " + zeros + " 1", kContinuation}));
  const std::string fox = "the quick brown fox the quick brown fox";
  EXPECT_EQ(align(fox, " the quick brown fox the quick brown fox and"),
            (Aligned{" the quick brown fox the quick brown fox and", kContinuation}));
  const std::string rows = "| a | b |\n| a | b |\n| a | b |\n";
  EXPECT_EQ(align(rows, "\n" + rows), (Aligned{rows, kContinuation}));  // the seam's line end only
  // Where the repetition breaks at the seam, it is an echo.
  EXPECT_EQ(align("ha ha ha ha ha ha ha", "ha ha ha ha ha ha ha ha!"), (Aligned{" ha!", kEcho}));
  // What the endpoint did before settles what the text cannot.
  EXPECT_EQ(align(zeros, " " + zeros + " 1", Expect::kEcho), (Aligned{" 1", kEcho}));
}

TEST(Align, EchoIsDropped) {
  EXPECT_EQ(align("The capital of France", "The capital of France is Paris."),
            (Aligned{" is Paris.", kEcho}));
  EXPECT_EQ(align("The capital of France", "The capital of France"), (Aligned{"", kEcho}));
  EXPECT_EQ(align("The capital of Ja", "The capital of Japan"), (Aligned{"pan", kEcho}));
  // White space before it trimmed or added.
  EXPECT_EQ(align("  The capital of France", "The capital of France is"), (Aligned{" is", kEcho}));
  EXPECT_EQ(align("The capital of France", " The capital of France is"), (Aligned{" is", kEcho}));
  EXPECT_EQ(align("\n\nThe capital of France", "\nThe capital of France is"), (Aligned{" is", kEcho}));
  // A new line that the start did not have: the model says the same again, on a line of its own.
  EXPECT_EQ(align("The capital of Japan is", "\nThe capital of Japan is\n"),
            (Aligned{"\nThe capital of Japan is\n", kContinuation}));
  EXPECT_EQ(align("C'est d\xc3\xa9j\xc3\xa0 l'\xc3\xa9t\xc3\xa9",
                  "C'est d\xc3\xa9j\xc3\xa0 l'\xc3\xa9t\xc3\xa9, oui"),
            (Aligned{", oui", kEcho}));
}

TEST(Align, ShortEchoNeedsAWordEnd) {
  EXPECT_EQ(align("The", "The capital"), (Aligned{" capital", kEcho}));
  EXPECT_EQ(align("I", "I think"), (Aligned{" think", kEcho}));
  EXPECT_EQ(align("1.", "1. One"), (Aligned{" One", kEcho}));
  EXPECT_EQ(align("The", "Theory"), (Aligned{"Theory", kContinuation}));
  EXPECT_EQ(align("ha", "haha"), (Aligned{"haha", kContinuation}));
  EXPECT_EQ(align("The", " The capital"), (Aligned{" The capital", kContinuation}));
  EXPECT_EQ(align("\u27e6851\u27e7", " \u27e6851\u27e7 north"), (Aligned{" north", kEcho}));  // hardly twice
  EXPECT_EQ(align("The town", " The town is"), (Aligned{" is", kEcho}));
  EXPECT_EQ(align("The town", "  The town is"), (Aligned{"  The town is", kContinuation}));
  // Known endpoints.
  EXPECT_EQ(align("1", "10 apples", Expect::kEcho), (Aligned{"0 apples", kEcho}));
  EXPECT_EQ(align("1.", "1. One", Expect::kContinuation), (Aligned{"1. One", kContinuation}));
  EXPECT_EQ(align("The", "The The", Expect::kContinuation), (Aligned{" The", kEcho}));  // no word is "TheThe"
  EXPECT_EQ(align("The capital ", "The capital of", Expect::kContinuation), (Aligned{"of", kEcho}));
}

TEST(Align, OverlapIsDropped) {
  const std::string start = "Here is the answer: the capital of France";
  EXPECT_EQ(align(start, " the capital of France is Paris."), (Aligned{" is Paris.", kOverlap}));
  EXPECT_EQ(align(start, "capital of France is Paris."), (Aligned{" is Paris.", kOverlap}));
  EXPECT_EQ(align(start, "of France is Paris."),
            (Aligned{" is Paris.", kOverlap}));  // letters touch: two words do
  EXPECT_EQ(align(start, " of France is Paris."),
            (Aligned{" of France is Paris.", kContinuation}));  // too short
  EXPECT_EQ(align(start, "France is Paris."), (Aligned{"France is Paris.", kContinuation}));
  EXPECT_EQ(align("We saw a cat in the old house", "in the old households"),
            (Aligned{"in the old households", kContinuation}));
  EXPECT_EQ(align(start, "the capital of France"), (Aligned{"", kOverlap}));  // ... and nothing more
}

TEST(Align, RestartIsRecognised) {
  EXPECT_EQ(align("The capital of France", "The city of Paris is the capital."), (Aligned{"", kRestart}));
  EXPECT_EQ(align("I think that", "I believe so"), (Aligned{"", kRestart}));
  // Begun anew after a whole sentence: the same first word proves nothing, 48 shared bytes do.
  EXPECT_EQ(align("The cat sat. ", "The cat ran."), (Aligned{"The cat ran.", kContinuation}));
  const std::string sentence = "Once upon a time there was a small house by the river. ";
  EXPECT_EQ(align(sentence + "It", sentence + "They"), (Aligned{"", kRestart}));
}

TEST(Align, AReplyThatEndsInsideOfWhatItSaysAgainHasNoContinuation) {
  const std::string start = "Tale M is quiet, then silver paper";
  const Aligned restart{"", Alignment::kRestart};
  EXPECT_EQ(align(start, "Tale"), restart);
  EXPECT_EQ(align(start, "Tale M is quiet"), restart);
  EXPECT_EQ(align(start, " Tale M is"), restart) << "two words and more";
  EXPECT_EQ(align(start + " ", "Tale M is quiet,"), restart);
  EXPECT_EQ(align(start, "quiet, then silver"), restart) << "of an overlap";
  EXPECT_EQ(align(start, " Tale", Expect::kEcho), restart);
  // What may be meant stays: one word over a blank, half a word, words that stand there twice, other words.
  EXPECT_EQ(align(start, " Tale").text, " Tale");
  EXPECT_EQ(align(start, " Tale M is", Expect::kContinuation).text, " Tale M is");
  EXPECT_EQ(align(start, " Tale M is qui").text, " Tale M is qui");
  EXPECT_EQ(align("ha ha ha", " ha ha").text, " ha ha");
  EXPECT_EQ(align("one two, one two, three", " one two").text, " one two");
  EXPECT_EQ(align(start, " and").text, " and");
}

TEST(Align, WhiteSpaceAtTheSeamIsNotSentAndNotDoubled) {
  EXPECT_EQ(sent_part("The capital of "), "The capital of");
  EXPECT_EQ(sent_part("a\r\n\t "), "a");
  EXPECT_EQ(sent_part(" \n"), "");
  EXPECT_EQ(sent_part(""), "");
  EXPECT_EQ(align("The capital of ", " France"), (Aligned{"France", kContinuation}));
  EXPECT_EQ(align("The capital of ", "France"), (Aligned{"France", kContinuation}));
  EXPECT_EQ(align("The capital of ", "The capital of France"), (Aligned{"France", kEcho}));
  EXPECT_EQ(align("def f():\n    ", "\n    return 1"), (Aligned{"return 1", kContinuation}));
  EXPECT_EQ(align("def f():\n", "\n    return 1"), (Aligned{"    return 1", kContinuation}));
  EXPECT_EQ(align("One.\n", "\n\nTwo."), (Aligned{"\nTwo.", kContinuation}));
  EXPECT_EQ(align("One. ", "\nTwo."), (Aligned{"\nTwo.", kContinuation}));
  EXPECT_EQ(align(" \n", " Hello"), (Aligned{" Hello", kContinuation}));  // nothing was sent
}

TEST(Align, AContinuationIsLetThroughAtItsFirstLetter) {
  Aligner aligner("The capital of France");
  EXPECT_EQ(aligner.push(" is"), " is");
  EXPECT_EQ(aligner.alignment(), kContinuation);
  EXPECT_EQ(aligner.push(" Paris"), " Paris");
}

TEST(Align, WhatIsHeldBackIsBounded) {
  const std::string start = "one two three four five";
  Aligner aligner(start);
  for (const char c : start.substr(0, start.size() - 1)) {
    EXPECT_EQ(aligner.push(std::string(1, c)), "");
    EXPECT_LE(aligner.held_bytes(), start.size() + kLeadingSpaceMax);
  }
  EXPECT_EQ(aligner.push("x"), "");  // "fivx": 22 bytes of the start, then another way on
  EXPECT_EQ(aligner.alignment(), kRestart);
  Aligner spaces(start);
  std::string out;
  for (int i = 0; i < 1000; ++i) {
    out += spaces.push(" ");
    ASSERT_LE(spaces.held_bytes(), kLeadingSpaceMax);
  }
  EXPECT_EQ(out, std::string(1000, ' '));
}

TEST(Align, LearnsFromWhatIsCertainOnly) {
  const auto learned = [](const std::string& start, const std::string& reply) {
    Aligner aligner(start);
    aligner.push(reply);
    aligner.finish();
    return aligner.learned();
  };
  EXPECT_EQ(learned("The capital of France", " is Paris"), Expect::kContinuation);
  EXPECT_EQ(learned("The capital of France", "The capital of France is"), Expect::kEcho);
  EXPECT_EQ(learned("The", "The capital"), Expect::kUnknown);
  EXPECT_EQ(learned("", "Hello"), Expect::kUnknown);
  // Over before it could be told.
  EXPECT_EQ(learned("The capital of France", " The"), Expect::kUnknown);
  EXPECT_EQ(learned("The capital of France", ""), Expect::kUnknown);
}

std::string random_words(Rng& rng, const std::vector<std::string>& vocabulary, size_t count) {
  static const std::vector<std::string> kJoints = {" ", " ", " ", " ", ", ", ". ", "\n", "\n\n"};
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) out += kJoints[rng.below(kJoints.size())];
    out += vocabulary[rng.below(vocabulary.size())];
  }
  return out;
}

// An answer of words that all differ, cut anywhere a word ends: whatever an endpoint makes of the start, the
// joined text is the answer. Words that differ leave no room for coincidence, so the expectation is exact.
TEST(AlignProperty, AnswersOfDistinctWordsJoinExactly) {
  Rng rng(seed());
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::string> words;
    const size_t count = 4 + rng.below(30);
    for (size_t i = 0; i < count; ++i)
      words.push_back((i % 3 == 0 ? "\xc3\xa9" : "w") + std::to_string(rng.below(9000) + 1000) + "x" +
                      std::to_string(i));
    const size_t cut = 1 + rng.below(count - 1);
    std::string start = words[0], rest;
    for (size_t i = 1; i < count; ++i)
      (i < cut ? start : rest) += (rng.below(8) == 0 ? "\n" : " ") + words[i];
    const std::string answer = start + rest;
    // Sometimes the cut lies after the white space that follows the word; that is not sent.
    const bool after_space = rng.below(3) == 0;
    const std::string standing = after_space ? start + rest.substr(0, 1) : start;
    const std::string expected = after_space ? rest.substr(1) : rest;
    std::string reply;
    Alignment expected_alignment = kContinuation;
    switch (rng.below(after_space ? 3 : 4)) {
      case 0:
        reply = rest;
        break;
      case 1:
        reply = start + rest;
        expected_alignment = kEcho;
        break;
      case 2:
        reply = rest;
        if (start.size() >= kSureBytes) reply = " " + start + rest, expected_alignment = kEcho;
        break;
      default: {
        size_t at = start.size();
        for (int back = 0; back < 4 && at != std::string::npos; ++back)
          at = start.find_last_of(" \n", at - 1);
        reply = rest;
        if (at != std::string::npos && at > 0)
          reply = start.substr(at + 1) + rest, expected_alignment = kOverlap;
      }
    }
    const Aligned got = align_pieces(standing, random_pieces(rng, reply));
    ASSERT_EQ(standing + got.text, answer) << "start: " << start << "\nreply: " << reply;
    if (standing.size() > 8) {
      ASSERT_EQ(got.alignment, expected_alignment) << "start: " << start << "\nreply: " << reply;
    }
  }
}

// Few words that often repeat: coincidences everywhere. Nothing may be invented, what is dropped must be text
// that stands already and is long enough, and the pieces may not matter.
TEST(AlignProperty, WithFewWordsOnlyWhatStandsIsDropped) {
  Rng rng(seed() + 1);
  const std::vector<std::string> vocabulary = {"a", "the", "no", "ha", "0,", "1", "\xe4\xbd\xa0\xe5\xa5\xbd",
                                               "-"};
  int dropped_rounds = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string start =
        random_words(rng, vocabulary, 1 + rng.below(12)) + (rng.below(4) == 0 ? " " : "");
    std::string reply = (rng.below(2) == 0 ? " " : "") + random_words(rng, vocabulary, rng.below(12));
    switch (rng.below(6)) {
      case 0:
        reply = start.substr(0, rng.below(start.size() + 1)) + reply;
        break;
      case 1:
        reply = start.substr(rng.below(start.size())) + reply;
        break;
      case 2:
        reply = start + reply;
        break;
      default:
        break;
    }
    const auto expect = static_cast<Expect>(rng.below(3));
    const Aligned whole = align_pieces(start, {reply}, expect);
    ASSERT_EQ(align_pieces(start, random_pieces(rng, reply), expect), whole)
        << "start: " << start << "\nreply: " << reply;
    if (whole.alignment == kRestart) continue;
    ASSERT_TRUE(reply.ends_with(whole.text)) << "start: " << start << "\nreply: " << reply;
    std::string dropped = reply.substr(0, reply.size() - whole.text.size());
    dropped.erase(dropped.find_last_not_of(" \n") + 1);
    dropped.erase(0, std::min(dropped.find_first_not_of(" \n"), dropped.size()));
    if (whole.alignment == kContinuation) {
      ASSERT_EQ(dropped, "") << "start: " << start << "\nreply: " << reply;
    } else {
      ++dropped_rounds;
      ASSERT_TRUE(sent_part(start).ends_with(dropped)) << "start: " << start << "\nreply: " << reply;
      if (whole.alignment == kOverlap) {
        ASSERT_GE(dropped.size(), kGluedOverlapBytesMin);
      }
    }
  }
  EXPECT_GT(dropped_rounds, 1000);  // the test met what it is about
}

}  // namespace
}  // namespace hedge::upstream
