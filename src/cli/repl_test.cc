#include "cli/repl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/answer.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

using ::testing::HasSubstr;

TEST(ReplSettings, TakesWhatIsInRange) {
  ChatSettings s;
  ASSERT_TRUE(set_parameter(s, "temperature", "0.25").ok());
  ASSERT_TRUE(set_parameter(s, "top_k", "7").ok());
  ASSERT_TRUE(set_parameter(s, "seed", "18446744073709551615").ok());
  ASSERT_TRUE(set_parameter(s, "system", "Be brief. Please.").ok());
  EXPECT_FLOAT_EQ(s.sampling.temperature, 0.25f);
  EXPECT_EQ(s.sampling.top_k, 7);
  EXPECT_EQ(s.sampling.seed, UINT64_MAX);
  EXPECT_EQ(s.system, "Be brief. Please.");
  ASSERT_TRUE(set_parameter(s, "seed", "none").ok());
  EXPECT_FALSE(s.sampling.seed.has_value());
  EXPECT_THAT(parameters_text(s), HasSubstr("temperature     0.25"));
}

TEST(ReplSettings, SaysWhatWouldBeRight) {
  ChatSettings s;
  for (const char* bad : {"warm", "", "-1", "9", "0.2x", "nan"}) {
    const Status status = set_parameter(s, "temperature", bad);
    ASSERT_FALSE(status.ok()) << bad;
    EXPECT_THAT(status.error().detail, HasSubstr("temperature must be 0 to 5"));
  }
  EXPECT_FLOAT_EQ(s.sampling.temperature, chat::Sampling().temperature);
  EXPECT_THAT(set_parameter(s, "temprature", "1").error().detail, HasSubstr("did you mean 'temperature'?"));
}

// Gives the events it was made with, then kCancelled.
class ScriptedStream : public chat::Stream {
 public:
  ScriptedStream(std::vector<Result<chat::Event>> events, bool& cancelled)
      : events_(std::move(events)), cancelled_(cancelled) {}
  Result<chat::Event> next(Deadline) override {
    if (at_ == events_.size()) return make_error(ErrorCode::kCancelled, "over");
    return events_[at_++];
  }
  void cancel() override { cancelled_ = true; }

 private:
  std::vector<Result<chat::Event>> events_;
  size_t at_ = 0;
  bool& cancelled_;
};

class ScriptedBackend : public chat::Backend {
 public:
  const chat::BackendInfo& info() const override { return info_; }
  chat::BackendState state() const override { return {}; }
  Result<std::unique_ptr<chat::Stream>> start(const chat::Request&) override {
    return std::unique_ptr<chat::Stream>(new ScriptedStream(events, cancelled));
  }
  std::vector<Result<chat::Event>> events;
  bool cancelled = false;

 private:
  chat::BackendInfo info_;
};

class AnswerTest : public ::testing::Test {
 protected:
  void SetUp() override { clear_interrupt(); }
  ScriptedBackend backend_;
  std::string seen_;
};

TEST_F(AnswerTest, HandsOnTextUntilDone) {
  chat::Done done;
  done.reason = chat::FinishReason::kLength;
  done.usage.completion_tokens = 2;
  backend_.events = {chat::Event(chat::Started{}),        make_error(ErrorCode::kTimeout, "later"),
                     chat::Event(chat::Delta{"He", {}}),  chat::Event(chat::Switched{}),
                     chat::Event(chat::Delta{"llo", {}}), chat::Event(done)};
  const auto answer =
      stream_answer(backend_, {}, [&](std::string_view piece) { return seen_ += piece, true; });
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->text, "Hello");
  EXPECT_EQ(seen_, "Hello");
  EXPECT_EQ(answer->reason, chat::FinishReason::kLength);
  EXPECT_FALSE(answer->stopped);
  EXPECT_THAT(stats_line(*answer), HasSubstr("2 tokens"));
}

TEST_F(AnswerTest, StopsWhenTheSinkIsFull) {
  backend_.events = {chat::Event(chat::Delta{"a", {}}), chat::Event(chat::Delta{"b", {}})};
  const auto answer =
      stream_answer(backend_, {}, [&](std::string_view piece) { return seen_ += piece, false; });
  ASSERT_TRUE(answer.ok());
  EXPECT_TRUE(answer->stopped);
  EXPECT_TRUE(backend_.cancelled);
  EXPECT_EQ(seen_, "a");
}

TEST_F(AnswerTest, AnErrorInMidAnswerIsAnError) {
  backend_.events = {chat::Event(chat::Delta{"a", {}}), make_error(ErrorCode::kInternal, "broken")};
  const auto answer =
      stream_answer(backend_, {}, [&](std::string_view piece) { return seen_ += piece, true; });
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kInternal);
  EXPECT_EQ(seen_, "a");
}

TEST(Text, SizesReadWell) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(98362432), "98.4 MB");
  EXPECT_EQ(human_bytes(999960), "1.0 MB");
  EXPECT_EQ(human_count(134515008), "134.5M");
  EXPECT_EQ(human_count(1235814400), "1.24B");
}

}  // namespace
}  // namespace hedge::cli
