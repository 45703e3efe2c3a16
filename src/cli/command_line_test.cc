// The program from its arguments to its exit status, where no model is needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "cli/command.h"
#include "cli/terminal.h"
#include "cli/test_util.h"

namespace hedge::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Outcome {
  int status;
  std::string out;
  std::string err;
};

Outcome run(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "hedge");
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int status = run_command_line(static_cast<int>(arguments.size()), arguments.data());
  std::fflush(stdout);
  return {status, ::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
}

class CommandLineTest : public ::testing::Test {
 protected:
  TempFolder home_;
  ScopedVariable hedge_home_{"HEDGE_HOME", home_.path().c_str()};
  ScopedVariable models_{"HEDGE_MODELS", nullptr};
};

TEST_F(CommandLineTest, EveryCommandExplainsItself){
#define HEDGE_COMMAND(name)                                                 \
  {                                                                         \
    const Outcome help = run({#name, "--help"});                            \
    EXPECT_EQ(help.status, kExitOk);                                        \
    EXPECT_THAT(help.out, HasSubstr("Usage: hedge " #name));                \
    const Outcome wrong = run({#name, "--no-such-option"});                 \
    EXPECT_EQ(wrong.status, kExitUsage);                                    \
    EXPECT_THAT(wrong.err, HasSubstr("`hedge " #name " --help` explains")); \
  }
#include "cli/command_list.inc"
#undef HEDGE_COMMAND
}

TEST_F(CommandLineTest, MistakesAreExplained) {
  const Outcome nothing = run({});
  EXPECT_EQ(nothing.status, kExitUsage);
  EXPECT_THAT(nothing.err, HasSubstr("First steps:"));
  const Outcome command = run({"serv"});
  EXPECT_EQ(command.status, kExitUsage);
  EXPECT_EQ(command.err, "hedge: no command 'serv'; did you mean 'serve'?\n");
  EXPECT_THAT(run({"serve", "--prot", "1"}).err,
              HasSubstr("serve has no option --prot; did you mean --port?"));
  EXPECT_THAT(run({"run", "a", "b", "c"}).err, HasSubstr("'c' is one argument too many for run"));
  EXPECT_THAT(run({"run"}).err, HasSubstr("MODEL is required"));
  EXPECT_EQ(run({"serve", "--port", "70000"}).status, kExitUsage);
}

TEST_F(CommandLineTest, AnUnknownModelFailsWithAMessageOnStandardError) {
  for (const std::vector<const char*>& arguments : {std::vector<const char*>{"run", "nope", "hi"},
                                                    {"show", "nope"},
                                                    {"bench", "-m", "nope"},
                                                    {"serve", "-m", "nope", "--port", "0"},
                                                    {"perplexity", "-m", "nope", "-f", "x"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, kExitFailed) << arguments[0];
    EXPECT_THAT(outcome.err, HasSubstr("no model 'nope'")) << arguments[0];
    EXPECT_THAT(outcome.out, IsEmpty()) << arguments[0];
  }
}

TEST_F(CommandLineTest, ServeRefusesWhatWouldSurprise) {
  const Outcome open = run({"serve", "-m", "x", "--host", "0.0.0.0"});
  EXPECT_EQ(open.status, kExitFailed);
  EXPECT_THAT(open.err, HasSubstr("give --api-key KEY, or --allow-anonymous"));
  EXPECT_THAT(run({"serve"}).err, HasSubstr("give -m MODEL"));
  EXPECT_THAT(run({"serve", "-m", "x", "--upstream", "http://h"}).err,
              HasSubstr("give --upstream-model NAME"));
  EXPECT_THAT(run({"serve", "-m", "x", "--upstream-model", "m"}).err, HasSubstr("give --upstream URL"));
  for (const char* taken : {"local", "prompt"}) {
    const Outcome ambiguous = run({"serve", "-m", "x", "--upstream-name", taken});
    EXPECT_EQ(ambiguous.status, kExitFailed);
    EXPECT_THAT(ambiguous.err, HasSubstr("expected a name other than 'local' and 'prompt'"));
  }
  const std::string config = home_.write("hedge.toml", "[server]\n\nprot = 1\n");
  const Outcome wrong = run({"serve", "--config", config.c_str()});
  EXPECT_EQ(wrong.status, kExitUsage);
  EXPECT_EQ(wrong.err, "hedge: " + config + ":3: unknown key 'prot' in [server]; did you mean 'port'?\n");
}

TEST_F(CommandLineTest, FlagsOverrideTheFile) {
  const std::string config = home_.write("hedge.toml", "[server]\nport = 1\nhost = '::1'\n");
  const Outcome printed =
      run({"serve", "--config", config.c_str(), "--port", "2", "--offline", "--print-config"});
  EXPECT_EQ(printed.status, kExitOk);
  EXPECT_THAT(printed.out, HasSubstr("\nport = 2\n"));
  EXPECT_THAT(printed.out, HasSubstr("\nhost = \"::1\"\n"));
  EXPECT_THAT(printed.out, HasSubstr("\noffline = true\n"));
  EXPECT_THAT(printed.out, HasSubstr("\n#slots = "));
}

TEST_F(CommandLineTest, ListsWhatIsThereAndWhatIsBroken) {
  EXPECT_EQ(run({"ls", "--json"}).out, "[]\n");
  home_.write("models/broken.gguf", "GGUF no more");
  const Outcome list = run({"list"});
  EXPECT_EQ(list.status, kExitOk);
  EXPECT_THAT(list.out, HasSubstr("cannot be read"));
  EXPECT_EQ(run({"show", "broken"}).status, kExitFailed);
  EXPECT_THAT(run({"pull", "--json"}).out, HasSubstr("\"smollm2-135m-instruct\""));
}

}  // namespace
}  // namespace hedge::cli
