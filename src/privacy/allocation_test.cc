// Judging texts in which nothing is found allocates nothing once the thread's buffers have grown.
#include <gtest/gtest.h>

#include <string>

#include "privacy/outbound_gate.h"
#include "tests/support/counting_new.h"

namespace hedge::privacy {
namespace {

chat::Request request_of(std::string text) {
  chat::Request request;
  using chat::Role;
  request.messages = {{Role::kSystem, "You help.", ""},
                      {Role::kUser, std::move(text), "guest"},
                      {Role::kAssistant, "Certainly.", ""},
                      {Role::kTool, R"({"cup_sizes": ["large\nand round", 12.5], "open": null})", ""},
                      {Role::kUser, "And then, in 1987?", ""}};
  request.messages[2].tool_calls = {{"call_1", "look_up", R"({"city": "caf\u00e9", "count": 3})"}};
  request.stop = {"END", "\n\n\n"};
  request.sampling.seed = 18446744073709551615u;
  request.way.path = "device,fog";
  return request;
}

TEST(OutboundGate, CleanTextsAllocateNothing) {
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text +=
        "In 1987 the caf\xc3\xa9 \xe2\x80\x9cParis\xe2\x80\x9d sold 1,204 cups (3.5 % more); key = value: "
        "12:30, a-b.\n";
    text += "def internationalisation_of_everything(x): return x @ y  # 2019-03-04\n";
  }
  const OutboundGate gate;
  const chat::Request request = request_of(text);
  for (int i = 0; i < 2; ++i) {
    const Finding finding = gate.judge(request);
    ASSERT_EQ(finding.outcome, Outcome::kClean) << finding.detail;
  }
  const long before = hedge::testing::allocations.load();
  EXPECT_EQ(gate.judge(request).outcome, Outcome::kClean);
  EXPECT_EQ(hedge::testing::allocations.load() - before, 0);
}

}  // namespace
}  // namespace hedge::privacy
