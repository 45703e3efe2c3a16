// hedge run: one answer, or a conversation at the terminal, by the local model.
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/answer.h"
#include "cli/command.h"
#include "cli/kernel_level.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/repl.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr size_t kStdinBytesMax = 16u << 20;
constexpr int kStdinHintMs = 3000;

struct Options {
  std::string model;
  std::string prompt;
  bool has_prompt = false;
  ChatSettings chat;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  engine::Options engine;
  bool raw = false;
  bool ignore_eos = false;
  bool verbose = false;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
Examples:
  hedge run smollm2-135m-instruct "Name three rivers"
  hedge run smollm2-135m-instruct                          a conversation; /help inside
  hedge run ./model.gguf "Summarise:" < report.txt         standard input is appended to the prompt
  hedge run smollm2-135m-instruct --temperature 0 --max-tokens 20 "Count to ten"
  hedge run smollm2-135m-instruct --system "Answer in one word." --json "Capital of France?"

Only the answer goes to standard output; on a terminal, control characters in it are shown as \x1b. The prompt is the user's turn of a conversation, in the form of
the model's chat template; a base model without one is given a plain transcript. --raw gives the text to
the model as it is.)";

// All of standard input. A pipe that stays silent is waited for, after saying so once.
Result<std::string> read_stdin() {
  std::string text;
  std::vector<char> buffer(1u << 16);
  pollfd waiting{STDIN_FILENO, POLLIN, 0};
  bool hinted = false;
  while (true) {
    const int ready = poll(&waiting, 1, hinted ? -1 : kStdinHintMs);
    if (interrupted()) return make_error(ErrorCode::kCancelled, "interrupted");
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) {
      hinted = true;
      fmt::print(
          stderr,
          "hedge: waiting for the end of standard input, which is no terminal (</dev/null gives none)\n");
      continue;
    }
    const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return make_error(ErrorCode::kIo, fmt::format("cannot read standard input: {}", std::strerror(errno)));
    }
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > kStdinBytesMax) {
      return make_error(ErrorCode::kExhausted,
                        fmt::format("standard input is longer than {}", human_bytes(kStdinBytesMax)));
    }
  }
}

// Whether standard input may hold text for the prompt: a pipe, a file or a socket, not a terminal or a closed
// descriptor.
bool stdin_may_hold_text() {
  struct stat info = {};
  if (fstat(STDIN_FILENO, &info) != 0) return false;
  return S_ISFIFO(info.st_mode) || S_ISREG(info.st_mode) || S_ISSOCK(info.st_mode);
}

Result<std::string> full_prompt(const Options& options) {
  if (!stdin_may_hold_text()) return options.prompt;
  HEDGE_TRY_SET(const std::string input, read_stdin());
  if (options.prompt.empty()) return input;
  return input.empty() ? options.prompt : options.prompt + "\n\n" + input;
}

chat::Request make_request(const Options& options, const std::string& prompt) {
  chat::Request request;
  request.sampling = options.chat.sampling;
  request.max_tokens = options.chat.max_tokens;
  request.stop = options.stop;
  request.ignore_eos = options.ignore_eos;
  if (options.raw) {
    request.raw = true;
    request.prompt = prompt;
    return request;
  }
  if (!options.chat.system.empty())
    request.messages.push_back({chat::Role::kSystem, options.chat.system, {}});
  request.messages.push_back({chat::Role::kUser, prompt, {}});
  return request;
}

json to_json(const Answer& answer, const std::string& model) {
  return {{"model", model},
          {"content", answer.text},
          {"finish_reason", chat::to_string(answer.reason)},
          {"usage",
           {{"prompt_tokens", answer.usage.prompt_tokens},
            {"cached_tokens", answer.usage.cached_tokens},
            {"completion_tokens", answer.usage.completion_tokens}}},
          {"prefill_ms", answer.usage.prefill_ms},
          {"decode_ms", answer.usage.decode_ms},
          {"first_text_ms", answer.first_text_ms}};
}

int answer_once(engine::Engine& engine, const Options& options, const std::string& prompt) {
  const auto print_piece = [&](std::string_view piece) { return options.as_json || print_answer(piece); };
  const auto answer = stream_answer(engine, make_request(options, prompt), print_piece);
  if (!answer.ok()) return fail(answer.error());
  if (options.as_json) {
    fmt::print("{}\n",
               to_json(*answer, engine.info().model).dump(2, ' ', false, json::error_handler_t::replace));
  } else if (!answer->text.ends_with('\n')) {
    std::fputs("\n", stdout);
  }
  std::fflush(stdout);
  if (options.verbose || (stderr_is_terminal() && stdout_is_terminal())) {
    fmt::print(stderr, "[{}]\n", stats_line(*answer));
  }
  if (interrupted()) return kExitInterrupted;
  return answer->stopped ? kExitFailed : kExitOk;  // stopped by an output that is gone
}

int run_model(Options& options) {
  catch_interrupts();
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  const auto path = store->resolve(options.model);
  if (!path.ok()) return fail(path.error());
  options.chat.sampling.seed = options.seed;

  const bool converse = !options.has_prompt && stdin_is_terminal();
  std::string prompt;
  if (!converse) {
    auto text = full_prompt(options);
    if (!text.ok()) return fail(text.error());
    prompt = std::move(*text);
    if (prompt.empty()) {
      return fail(make_error(ErrorCode::kInvalidArgument,
                             "the prompt is empty; give one, pipe one in, or use a terminal"));
    }
  }
  if (const Status level = choose_kernel_level(); !level.ok()) return fail(level.error());
  options.engine.slots = 1;
  const auto engine = engine::Engine::load(*path, options.engine);
  if (!engine.ok()) return fail(engine.error());
  if (!converse) return answer_once(**engine, options, prompt);
  if (options.raw || options.as_json) {
    return fail(make_error(ErrorCode::kInvalidArgument, "--raw and --json need a prompt")), kExitUsage;
  }
  if (const Status made = os::make_dirs(store->home()); !made.ok()) return fail(made.error());
  const std::string about = fmt::format("{} with a context of {} tokens", (*engine)->info().model,
                                        (*engine)->info().context_tokens);
  return run_repl(**engine, options.chat, store->home() + "/history", about, true);
}

}  // namespace

void add_run(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  chat::Sampling& sampling = options->chat.sampling;
  CLI::App* command = app.add_subcommand("run", "Answer a prompt here, or have a conversation");
  command->footer(kFooter);
  command->add_option("MODEL", options->model, "Name from `hedge list`, or path of a GGUF file")->required();
  CLI::Option* prompt =
      command->add_option("PROMPT", options->prompt, "What to ask; without it, a conversation");
  command
      ->add_option("-n,--max-tokens", options->chat.max_tokens,
                   "Longest answer in tokens; -1: until its end or that of the context")
      ->type_name("N")
      ->transform(in_range(-1, 1 << 30))
      ->capture_default_str()
      ->check([](const std::string& tokens) {
        return tokens == "0" ? "expected 1 or more, or -1, got '0'" : "";
      });
  command
      ->add_option("--temperature", sampling.temperature,
                   "How freely tokens are drawn, 0 to 5; 0: always the best one")
      ->type_name("T")
      ->transform(in_range(0.0, 5.0))
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Draw from the N best tokens; 0: off")
      ->type_name("N")
      ->transform(in_range(0, 1000000))
      ->capture_default_str();
  command
      ->add_option("--top-p", sampling.top_p,
                   "Draw from the best tokens that reach probability P together; 1: off")
      ->type_name("P")
      ->transform(in_range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--min-p", sampling.min_p,
                   "Draw from tokens with at least P times the best one's probability; 0: off")
      ->type_name("P")
      ->transform(in_range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--repeat-penalty", sampling.repeat_penalty,
                   "Above 1: the last 64 tokens become less likely; 1: off")
      ->type_name("X")
      ->transform(in_range(0.1, 10.0))
      ->capture_default_str();
  command
      ->add_option("-s,--seed", options->seed,
                   "Whole number that makes drawing repeatable (default: a fresh one)")
      ->type_name("S")
      ->transform(in_range(uint64_t{0}, UINT64_MAX));
  command->add_option("--stop", options->stop, "End the answer before this text; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_option("--system", options->chat.system, "Instructions that stand above the conversation")
      ->type_name("TEXT");
  command
      ->add_option("-t,--threads", options->engine.threads,
                   "Threads that compute; 0: all cores this process may use")
      ->type_name("N")
      ->transform(in_range(0, 256))
      ->capture_default_str();
  command
      ->add_option("-c,--context", options->engine.context_tokens,
                   "Longest prompt and answer together, in tokens; 0: the model's own, at most 4096")
      ->type_name("N")
      ->transform(in_range(0, 1 << 20))
      ->capture_default_str();
  add_kv_type(*command, options->engine.kv_type);
  command
      ->add_option("--speculation", options->engine.speculation,
                   "Verify several repeated tokens at once, where it pays; the answer is the same")
      ->type_name("MODE")
      ->check(CLI::IsMember({"auto", "off"}))
      ->capture_default_str();
  add_kv_memory(*command, options->engine.kv_memory_mb);
  command->add_flag("--raw", options->raw, "Continue the text as it is, without chat template");
  command->add_flag("--ignore-eos", options->ignore_eos,
                    "Go on past the end of the answer, up to --max-tokens");
  command->add_flag("-v,--verbose", options->verbose, "Speed and token counts on standard error");
  command->add_flag("--json", options->as_json, "Print one JSON object instead of the text");
  command->callback([options, prompt, &chosen] {
    options->has_prompt = prompt->count() > 0;
    chosen = [options] { return run_model(*options); };
  });
}

}  // namespace hedge::cli
