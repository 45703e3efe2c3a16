// hedge serve: the HTTP server over the local model, an optional upstream, and the rules between them.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <thread>

#include "cli/command.h"
#include "cli/config/config.h"
#include "cli/kernel_level.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/stack.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "server/server.h"
#include "upstream/endpoint.h"

namespace hedge::cli {
namespace {

constexpr size_t kKeyBytesMax = 4096;

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

Status apply_log_level(const std::string& name) {
  const auto level = spdlog::level::from_str(name);
  if (level == spdlog::level::off && name != "off") {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("log level must be trace, debug, info, warn, error or off, got '{}'", name));
  }
  spdlog::drop("hedge");
  auto logger = spdlog::stderr_color_mt("hedge");
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  logger->set_level(level);
  spdlog::set_default_logger(std::move(logger));
  return {};
}

// By the address itself: "127.example.com" is a name that may lead anywhere.
bool is_loopback(const std::string& host) {
  in_addr v4 = {};
  return host == "localhost" || host == "::1" || host == "[::1]" ||
         (inet_aton(host.c_str(), &v4) != 0 && (ntohl(v4.s_addr) >> 24) == 127);
}

Status check_host(const std::string& host) {
  in6_addr v6 = {};
  const bool is_v6 = inet_pton(AF_INET6, host.c_str(), &v6) == 1 || host.starts_with('[');
  if (host.empty() || host.find_first_of("/ ") != std::string::npos ||
      (!is_v6 && host.find(':') != std::string::npos)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("host: expected an address or a name without scheme and port, like 127.0.0.1, ::1 or "
                    "localhost, got '{}' (the port is given by --port)",
                    host));
  }
  return {};
}

Result<std::string> first_line_of(const std::string& path) {
  HEDGE_TRY_SET(const std::string text, os::read_file(path, kKeyBytesMax));
  const std::string line = text.substr(0, text.find_first_of("\r\n"));
  if (line.empty())
    return make_error(ErrorCode::kInvalidArgument, fmt::format("'{}' has an empty first line", path));
  return line;
}

Status find_api_key(Settings& settings) {
  if (!settings.server.api_key.empty()) return {};
  if (!settings.api_key_env.empty()) {
    const char* key = std::getenv(settings.api_key_env.c_str());
    if (key == nullptr || *key == '\0') {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("environment variable {} (server.api_key_env) is empty or not set",
                                    settings.api_key_env));
    }
    settings.server.api_key = key;
  } else if (!settings.api_key_file.empty()) {
    HEDGE_TRY_SET(settings.server.api_key, first_line_of(settings.api_key_file));
  }
  return {};
}

Status check(const Settings& settings) {
  if (settings.model.empty()) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "no model; give -m MODEL (`hedge list` shows what is here, `hedge pull` what can be fetched)");
  }
  HEDGE_TRY(check_host(settings.server.host));
  if (!is_loopback(settings.server.host) && settings.server.api_key.empty() && !settings.allow_anonymous) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("--host {} can be reached from other machines; give --api-key KEY, or --allow-anonymous "
                    "if whoever reaches it may use it",
                    settings.server.host));
  }
  const upstream::Options& up = settings.upstream;
  if (!up.base_url.empty()) HEDGE_TRY(upstream::normal_base_url(up.base_url, "upstream URL"));
  if (up.base_url.empty() && !up.model.empty()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "the upstream has a model but no URL; give --upstream URL");
  }
  if (!up.base_url.empty() && up.model.empty()) {
    return make_error(ErrorCode::kInvalidArgument, "the upstream has no model; give --upstream-model NAME");
  }
  // Segments name who wrote what: "local" is this device, "prompt" what was echoed.
  if (up.name.empty() || up.name == "local" || up.name == "prompt") {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("upstream.name (--upstream-name): expected a name other than 'local' and "
                    "'prompt', which answers use for this device and for an echoed prompt; got '{}'",
                    up.name));
  }
  return {};
}

// Defaults, then the file, then the flags.
Result<Settings> gather(const Options& options) {
  Settings settings;
  if (!options.config_path.empty()) HEDGE_TRY(apply_config_file(options.config_path, settings));
  for (const auto& apply : options.overrides) apply(settings);
  return settings;
}

// Runs the server on a thread of its own while this one waits for signals: the first ends it gracefully, a
// SIGINT after it cuts. A repeated SIGTERM only repeats the wish: those who send it send it twice (`timeout`
// does, to the process and to its group) and have SIGKILL for more.
int serve_until_signal(server::Server& server, const sigset_t& signals) {
  const pthread_t waiter = pthread_self();
  std::atomic<bool> ended{false};
  std::thread runner([&] {
    server.run();
    ended = true;
    pthread_kill(waiter, SIGTERM);  // blocked there, so it only wakes the wait
  });
  for (int count = 0; true; ++count) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (ended) break;
    if (count > 0 && signal == SIGTERM) continue;
    if (count > 0) {
      spdlog::warn("second signal: cutting off what is still running");
      _exit(kExitInterrupted);
    }
    spdlog::info("stopping: running answers get a few seconds to end, a second Ctrl-C cuts them off");
    server.stop();
  }
  runner.join();
  spdlog::info("stopped");
  return kExitOk;
}

Result<std::string> database_path(const Settings& settings, const ModelStore& store) {
  const std::string folder = settings.data_dir.empty() ? store.home() : settings.data_dir;
  HEDGE_TRY(os::make_dirs(folder));
  return folder + "/hedge.db";
}

Status start_and_serve(Settings settings) {
  HEDGE_TRY(find_api_key(settings));
  HEDGE_TRY(check(settings));
  HEDGE_TRY(apply_log_level(settings.log_level));
  HEDGE_TRY(choose_kernel_level());
  HEDGE_TRY_SET(const ModelStore store, ModelStore::from_environment());
  HEDGE_TRY_SET(const std::string model_path, store.resolve(settings.model));
  HEDGE_TRY_SET(const std::string database, database_path(settings, store));

  // Before any thread starts, so that all inherit the mask and only sigwait() gets them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  HEDGE_TRY_SET(const std::unique_ptr<Stack> stack, build_stack(settings, model_path, database));
  const server::Parts parts{stack->engine.get(), stack->upstream.get(), stack->router.get(),
                            stack->store.get(), stack->recorder.get()};
  HEDGE_TRY_SET(const std::unique_ptr<server::Server> server, server::Server::listen(settings.server, parts));

  const chat::BackendInfo& info = stack->engine->info();
  spdlog::info("model {} with a context of {} tokens per request; sessions in {}", info.model,
               info.context_tokens, database);
  if (stack->upstream) {
    spdlog::info("upstream '{}': {} at {}", settings.upstream.name, settings.upstream.model,
                 settings.upstream.base_url);
  } else {
    spdlog::info("no upstream: everything is answered here");
  }
  if (!is_loopback(settings.server.host) && settings.server.api_key.empty()) {
    spdlog::warn("{} is open to everyone who can reach it (--allow-anonymous)", settings.server.host);
  }
  const bool is_v6 =
      settings.server.host.find(':') != std::string::npos && !settings.server.host.starts_with('[');
  fmt::print("hedge: listening on http://{}{}{}:{}\n", is_v6 ? "[" : "", settings.server.host,
             is_v6 ? "]" : "", server->port());
  std::fflush(stdout);
  serve_until_signal(*server, signals);
  return {};
}

int run_serve(const Options& options) {
  const auto settings = gather(options);
  if (!settings.ok()) return fail(settings.error()), kExitUsage;
  if (options.print_config) {
    fmt::print("{}", config_text(*settings));
    return kExitOk;
  }
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
  command->add_flag("--print-config", options->print_config, "Print the configuration, annotated, and stop");

  const auto text = [&](const std::string& names, const std::string& type, const std::string& help,
                        auto set) {
    return command
        ->add_option_function<std::string>(
            names,
            [options, set](const std::string& v) {
              options->overrides.push_back([set, v](Settings& s) { set(s) = v; });
            },
            help)
        ->type_name(type);
  };
  const auto number = [&](const std::string& names, int low, int high, const std::string& help, auto set) {
    return command
        ->add_option_function<int>(
            names,
            [options, set](const int& v) {
              options->overrides.push_back([set, v](Settings& s) {
                auto& out = set(s);
                out = static_cast<std::remove_cvref_t<decltype(out)>>(v);
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
  text("--api-key", "KEY", "Key that clients must send",
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
  text("--kv-type", "TYPE", "How the KV cache is stored: q8, or f16 with twice the memory (default q8)",
       [](Settings& s) -> std::string& { return s.engine.kv_type; });
  number("--slots", 1, 64, "Requests decoded together (default 4)",
         [](Settings& s) -> int& { return s.engine.slots; });
  text("--log-level", "LEVEL", "trace, debug, info, warn, error or off (default info)",
       [](Settings& s) -> std::string& { return s.log_level; });
  command->callback([options, &chosen] { chosen = [options] { return run_serve(*options); }; });
}

}  // namespace hedge::cli
