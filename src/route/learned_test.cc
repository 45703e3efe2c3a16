#include "route/learned.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace hedge::route {
namespace {

chat::Request asks(std::string text) {
  chat::Request request;
  request.messages = {{chat::Role::kSystem, "You help with code: ```", ""},
                      {chat::Role::kUser, std::move(text), ""}};
  return request;
}

TEST(Learned, KindsAreFormAndLengthOfTheLastQuestion) {
  EXPECT_EQ(kind_name(kind_of(asks("What is the capital of France?"))), "question, short");
  EXPECT_EQ(kind_name(kind_of(asks("Fix this: for (i = 0;;) { f(); }"))), "code, short");
  EXPECT_EQ(kind_name(kind_of(asks("Tom has 12 apples and eats 5. " + std::string(60, 'x')))),
            "numbers, middle");
  EXPECT_EQ(kind_name(kind_of(asks(std::string(2000, 'a')))), "other, very long");
  EXPECT_EQ(kind_name(kind_of({})), "other, short");
  std::set<std::string> names;
  for (size_t kind = 0; kind < kKinds; ++kind) names.insert(kind_name(kind));
  EXPECT_EQ(names.size(), kKinds);
}

TEST(Learned, TheBiasIsShrunkenAndBounded) {
  Learned learned;
  EXPECT_EQ(learned.bias(3, 0.2), 0);
  for (int i = 0; i < 8; ++i) learned.vote(3, 1);
  EXPECT_NEAR(learned.bias(3, 0.2), 0.1, 1e-12);
  for (int i = 0; i < 10000; ++i) learned.vote(3, 99);
  EXPECT_LT(learned.bias(3, 0.2), 0.2);
  EXPECT_GT(learned.bias(3, 0.2), 0.19);
  EXPECT_EQ(learned.bias(4, 0.2), 0);
  for (int i = 0; i < 1000; ++i) learned.vote(3, -1);
  EXPECT_LT(learned.bias(3, 0.2), -0.15) << "old votes fade";
  learned.vote(99, 1);
  learned.vote(4, std::nan(""));
  EXPECT_EQ(learned.bias(4, 0.2), 0);
  EXPECT_EQ(learned.bias(99, 0.2), 0);
  learned.wipe();
  EXPECT_EQ(learned.bias(3, 0.2), 0);
}

TEST(Learned, SignalsSayForWhomTheySpeak) {
  for (const std::string& name : signal_names()) {
    const Signal signal = parse_signal(name).value();
    EXPECT_EQ(vote_of(signal, true) < 0, signal == Signal::kThumbsUp) << name;
    EXPECT_LE(std::abs(vote_of(signal, false)), std::abs(vote_of(signal, true))) << name;
    EXPECT_LE(vote_of(signal, true) * vote_of(signal, false), 0) << name;
  }
  EXPECT_EQ(parse_signal("like").error().field, "signal");
}

TEST(Learned, TextComesBackAndDamageIsNamed) {
  Learned learned, again;
  learned.vote(0, 1);
  learned.vote(15, -0.5);
  ASSERT_TRUE(again.from_text(learned.to_text()).ok());
  EXPECT_EQ(again.to_text(), learned.to_text());
  EXPECT_EQ(again.votes()[15].sum, -0.5);
  for (const char* text : {"", "x\n", "hedge learned 1\ncode, short\n", "hedge learned 1\ncode, short\t1\n",
                           "hedge learned 1\ncode, short\t2\t1\n", "hedge learned 1\nnone\t1\t1\n",
                           "hedge learned 1\ncode, short\tnan\t1\n", "hedge learned 1\ncode, short\t1\t1e9\n",
                           "hedge learned 1\ncode, short\t1\t1x\n", "hedge learned 1\n\n"}) {
    const Status status = again.from_text(text);
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(again.to_text(), learned.to_text()) << "unchanged";
  }
}

}  // namespace
}  // namespace hedge::route
