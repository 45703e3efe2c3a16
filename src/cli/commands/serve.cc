// hedge serve: the HTTP server over the local model, an optional upstream, and the rules between them.
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <thread>

#include "cli/command.h"
#include "cli/config/check.h"
#include "cli/config/config.h"
#include "cli/feedback_file.h"
#include "cli/kernel_level.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/session_store.h"
#include "cli/stack.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "server/server.h"

namespace hedge::cli {
namespace {

struct Options {
  std::string config_path;
  bool print_config = false;
  std::vector<std::function<void(Settings&)>> overrides;  // one per flag that was given
};

constexpr const char* kFooter = R"(
Examples:
  hedge serve -m smollm2-135m-instruct
  hedge serve -m smollm2-135m-instruct --upstream https://api.example.com --upstream-model big \
              --upstream-key-env BIG_KEY
  hedge serve --config hedge.toml --port 9000    flags override the file
  hedge serve --print-config > hedge.toml        an annotated file to start from, with the flags given in it

Talk to it as to any OpenAI-compatible server, at http://HOST:PORT/v1. Each answer says who wrote what and
why: header x-hedge-decision, object "hedge" in the body, GET /v1/hedge/decisions/ID.
Ctrl-C (SIGINT) or SIGTERM ends it gracefully, with status 0; a second Ctrl-C cuts running answers off.)";

void start_log(const std::string& level) {
  spdlog::drop("hedge");
  auto logger = spdlog::stderr_color_mt("hedge");
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

// Defaults, then the file, then the flags.
Result<Settings> gather(const Options& options) {
  Settings settings;
  if (!options.config_path.empty()) HEDGE_TRY(apply_config_file(options.config_path, settings));
  for (const auto& apply : options.overrides) apply(settings);
  return settings;
}

// Runs the server on a thread of its own, to its end.
class Running {
 public:
  explicit Running(server::Server& server)
      : server_(server), waiter_(pthread_self()), thread_([this] {
          server_.run();
          ended_ = true;
          pthread_kill(waiter_, SIGTERM);  // blocked there, so it only wakes the wait
        }) {}
  ~Running() {
    server_.stop();
    thread_.join();
  }
  bool ended() const { return ended_; }

 private:
  server::Server& server_;
  const pthread_t waiter_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// The first signal ends it gracefully, a SIGINT after it cuts. A repeated SIGTERM only repeats the wish:
// those who send it send it twice (`timeout` does, to the process and to its group) and have SIGKILL for
// more.
void serve_until_signal(server::Server& server, const Running& running, const sigset_t& signals) {
  for (int count = 0; true; ++count) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (running.ended()) break;
    if (count > 0 && signal == SIGTERM) continue;
    if (count > 0) {
      spdlog::warn("second signal: cutting off what is still running");
      _exit(kExitInterrupted);
    }
    spdlog::info("stopping: running answers get a few seconds to end, a second Ctrl-C cuts them off");
    server.stop();
  }
  spdlog::info("stopped");
}

// An error that says enough of itself where a flag gave the value: the file's line is what is missing.
Error from_file(const Settings& settings, const char* section, const char* name, Error error) {
  const auto found = settings.origins.find(fmt::format("{}.{}", section, name));
  if (found == settings.origins.end() || found->second.is_flag) return error;
  error.detail = wrong_value(settings, section, name, error.detail).detail;
  return error;
}

// The folder of what is private, made where it is not there.
Result<std::string> make_data_folder(const Settings& settings) {
  HEDGE_TRY_SET(std::string folder, data_folder(settings));
  if (const Status made = os::make_dirs(folder); !made.ok())
    return from_file(settings, "session", "data_dir", made.error());
  return folder;
}

Status start_and_serve(Settings settings) {
  start_log(settings.log_level);
  HEDGE_TRY(choose_kernel_level());
  HEDGE_TRY_SET(const ModelStore store, ModelStore::from_environment());
  auto model_path = store.resolve(settings.model);
  if (!model_path.ok()) return from_file(settings, "model", "model", std::move(model_path).error());
  HEDGE_TRY_SET(const std::string folder, make_data_folder(settings));
  if (settings.engine.kv_disk_dir.empty()) settings.engine.kv_disk_dir = folder + "/kv";
  settings.engine.warn = [](const std::string& text) { spdlog::warn("{}", text); };

  // Before any thread starts, so that all inherit the mask and only sigwait() gets them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  // It listens before the model is loaded, so that clients that come early wait instead of failing.
  std::unique_ptr<Stack> stack;
  HEDGE_TRY_SET(const std::unique_ptr<server::Server> server, server::Server::listen(settings.server));
  const bool is_v6 =
      settings.server.host.find(':') != std::string::npos && !settings.server.host.starts_with('[');
  fmt::print("hedge: listening on http://{}{}{}:{}\n", is_v6 ? "[" : "", settings.server.host,
             is_v6 ? "]" : "", server->port());
  std::fflush(stdout);
  const Running running(*server);
  auto built = build_stack(settings, *model_path, folder);
  if (!built.ok()) {
    server->give_up();
    return std::move(built).error();
  }
  stack = std::move(built).value();
  const chat::BackendInfo& info = stack->engine->info();
  spdlog::info("model {} with a context of {} tokens per request; sessions in {}", info.model,
               info.context_tokens, printable_address(store_address(settings, folder)));
  if (stack->upstream) {
    spdlog::info("upstream '{}': {} at {}", settings.upstream.name, settings.upstream.model,
                 settings.upstream.base_url);
    for (const upstream::Options& more : settings.more_upstreams)
      spdlog::info("then upstream '{}': {} at {}", more.name, more.model, more.base_url);
  } else {
    spdlog::info("no upstream: everything is answered here");
  }
  if (!is_loopback(settings.server.host) && settings.server.api_key.empty()) {
    spdlog::warn("{} is open to everyone who can reach it (--allow-anonymous)", settings.server.host);
  }
  const auto learn = [&stack, on = settings.policy.bias_max > 0](const std::string& decision, size_t kind,
                                                                 double vote) {
    return on ? stack->learned->vote(decision, kind, vote) : Status();
  };
  const auto note_feedback = [path = folder + "/" + kFeedbackFile](const std::string& decision,
                                                                   route::Signal signal) {
    return append_feedback(path, decision, signal);
  };
  server->attach({stack->engine.get(), stack->upstream.get(), stack->router.get(), stack->store.get(),
                  stack->recorder.get(), settings.engine.slots + settings.engine.queue_max, learn,
                  note_feedback});
  serve_until_signal(*server, running, signals);
  return {};
}

int run_serve(const Options& options) {
  auto settings = gather(options);
  if (!settings.ok()) return fail(settings.error()), kExitUsage;
  const std::string text = options.print_config ? config_text(*settings) : "";  // without keys that are found
  if (const Status valid = complete_and_check(*settings); !valid.ok()) return fail(valid.error()), kExitUsage;
  if (options.print_config) {
    fmt::print("{}", text);
    return kExitOk;
  }
  if (const Status named = check_model_named(*settings); !named.ok()) return fail(named.error()), kExitUsage;
  const Status status = start_and_serve(*settings);
  return status.ok() ? kExitOk : fail(status.error());
}

}  // namespace

void add_serve(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("serve", "Serve a model over HTTP, with an optional stronger upstream");
  command->footer(kFooter);
  command
      ->add_option("--config", options->config_path, "TOML file (docs/configuration.md); flags override it")
      ->type_name("FILE");
  command->add_flag("--print-config", options->print_config,
                    "Check the configuration, print it annotated, and stop");

  const auto long_name = [](const std::string& names) { return names.substr(names.find("--")); };
  const auto text = [&](const std::string& names, const std::string& type, const std::string& help,
                        auto set) {
    const std::string name = long_name(names);
    return command
        ->add_option_function<std::string>(
            names,
            [options, set, name](const std::string& v) {
              options->overrides.push_back([set, v, name](Settings& s) {
                set(s) = v;
                note_flag(s, &set(s), name);
              });
            },
            help)
        ->type_name(type);
  };
  const auto number = [&](const std::string& names, int low, int high, const std::string& help, auto set) {
    const std::string name = long_name(names);
    return command
        ->add_option_function<int>(
            names,
            [options, set, name](const int& v) {
              options->overrides.push_back([set, v, name](Settings& s) {
                auto& out = set(s);
                out = static_cast<std::remove_cvref_t<decltype(out)>>(v);
                note_flag(s, &out, name);
              });
            },
            help)
        ->transform(in_range(low, high))
        ->type_name("N");
  };
  const auto flag = [&](const std::string& names, const std::string& help, auto set) {
    return command->add_flag_callback(
        names, [options, set] { options->overrides.push_back([set](Settings& s) { set(s) = true; }); }, help);
  };
  text("-m,--model", "MODEL", "Name from `hedge list`, or path of a GGUF file",
       [](Settings& s) -> std::string& { return s.model; });
  text("--alias", "NAME", "Name that clients see instead of the file's",
       [](Settings& s) -> std::string& { return s.engine.alias; });
  text("--host", "HOST", "Address to listen at (default 127.0.0.1)",
       [](Settings& s) -> std::string& { return s.server.host; });
  number("--port", 0, 65535, "Port (default 8080); 0 picks one and prints it",
         [](Settings& s) -> uint16_t& { return s.server.port; });
  text("--api-key", "KEY",
       "Key that clients must send; other users can read a command line (docs/configuration.md)",
       [](Settings& s) -> std::string& { return s.server.api_key; });
  flag("--allow-anonymous", "Listen beyond loopback without an API key",
       [](Settings& s) -> bool& { return s.allow_anonymous; });
  text("--upstream", "URL", "OpenAI-compatible endpoint of the stronger tier, ending before /v1",
       [](Settings& s) -> std::string& { return s.upstream.base_url; });
  text("--upstream-model", "NAME", "The model's name there",
       [](Settings& s) -> std::string& { return s.upstream.model; });
  text("--upstream-key-env", "VAR", "Environment variable with its API key",
       [](Settings& s) -> std::string& { return s.upstream.key_env; });
  text("--upstream-name", "NAME", "What traces call it (default upstream)",
       [](Settings& s) -> std::string& { return s.upstream.name; });
  flag("--offline", "Nothing goes upstream", [](Settings& s) -> bool& { return s.policy.offline; });
  text("--data-dir", "DIR", "Folder of the session database (default $HEDGE_HOME, else ~/.local/share/hedge)",
       [](Settings& s) -> std::string& { return s.data_dir; });
  number("-t,--threads", 0, 256, "Threads that compute; 0: all cores this process may use",
         [](Settings& s) -> int& { return s.engine.threads; });
  number("-c,--context", 0, 1 << 20, "Tokens per request; 0: the model's own, at most 4096",
         [](Settings& s) -> int& { return s.engine.context_tokens; });
  text("--kv-type", "TYPE",
       "How the KV cache is stored: q8; q5 with 0.6 of its bytes per token; f16 with twice as many (default "
       "q8)",
       [](Settings& s) -> std::string& { return s.engine.kv_type; });
  text("--speculation", "MODE",
       "Verify several repeated tokens at once: auto, where it pays, or off (default auto)",
       [](Settings& s) -> std::string& { return s.engine.speculation; });
  number("--kv-memory", 0, 1 << 24, "MiB of all KV caches; 0: by the machine (docs/configuration.md)",
         [](Settings& s) -> int& { return s.engine.kv_memory_mb; });
  number("--kv-disk", 0, 1 << 24, "MiB of cached prefixes kept on disk (default 1024); 0: none",
         [](Settings& s) -> int& { return s.engine.kv_disk_mb; });
  number("--slots", 1, 64, "Requests decoded together (default 4)",
         [](Settings& s) -> int& { return s.engine.slots; });
  text("--log-level", "LEVEL", "trace, debug, info, warn, error or off (default info)",
       [](Settings& s) -> std::string& { return s.log_level; });
  command->callback([options, &chosen] { chosen = [options] { return run_serve(*options); }; });
}

}  // namespace hedge::cli
