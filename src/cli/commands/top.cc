// hedge top: a running server, live in the terminal.
#include <fmt/format.h>

#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/config/check.h"
#include "cli/config/config.h"
#include "cli/http_get.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "cli/top/frame.h"
#include "cli/top/screen.h"
#include "server/status.h"

namespace hedge::cli {
namespace {

constexpr const char* kDefaultUrl = "http://127.0.0.1:8080";
constexpr const char* kKeyVariable = "HEDGE_API_KEY";
constexpr Milliseconds kLoadingPoll{500};

struct Options {
  std::string url;
  std::string key;
  std::string config_path;
  double interval_s = 1;
  bool once = false;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
Examples:
  hedge top                                  the server at http://127.0.0.1:8080
  hedge top --config hedge.toml              address and key as in the server's file
  HEDGE_API_KEY=... hedge top --url http://box.lan:8080
  hedge top --once                           one frame as plain text, for scripts and mail
  hedge top --json                           what the server says (GET /v1/hedge/status)

q or Ctrl-C ends it, Ctrl-Z stops it; the terminal is left as it was. Without a terminal it prints one frame. Colours are left
out where NO_COLOR is set, block characters where the locale is not UTF-8.)";

// Where to look, and with which key.
struct Target {
  std::string url;
  std::string key;
};

Result<Target> target_of(const Options& options) {
  Target target{options.url, options.key};
  if (!options.config_path.empty()) {
    Settings settings;
    HEDGE_TRY(apply_config_file(options.config_path, settings));
    HEDGE_TRY(find_api_key(settings));
    const std::string& host = settings.server.host;
    const bool any = host == "0.0.0.0" || host == "::";
    const bool is_v6 = host.find(':') != std::string::npos && !host.starts_with('[');
    if (target.url.empty()) {
      target.url = fmt::format("http://{}:{}",
                               any     ? "127.0.0.1"
                               : is_v6 ? "[" + host + "]"
                                       : host,
                               settings.server.port);
    }
    if (target.key.empty()) target.key = settings.server.api_key;
  }
  if (target.url.empty()) target.url = kDefaultUrl;
  if (target.url.find("://") == std::string::npos) target.url = "http://" + target.url;
  while (target.url.ends_with('/')) target.url.pop_back();
  if (target.url.ends_with("/v1")) target.url.resize(target.url.size() - 3);
  if (const char* key = std::getenv(kKeyVariable); key != nullptr && target.key.empty()) target.key = key;
  return target;
}

Result<server::StatusReport> ask(HttpGet& http, const Target& target, std::string* raw) {
  HEDGE_TRY_SET(HttpGet::Reply reply, http.get(target.url + "/v1/hedge/status"));
  if (reply.status == 401) {
    return make_error(ErrorCode::kPermission,
                      target.key.empty()
                          ? fmt::format("{} asks for an API key: --key KEY, or {} in the environment",
                                        target.url, kKeyVariable)
                          : fmt::format("{} does not take this API key", target.url));
  }
  if (reply.status == 404) {
    return make_error(
        ErrorCode::kUnsupported,
        fmt::format("{} answers, but has no /v1/hedge/status: it is no Hedge, or an older one", target.url));
  }
  if (reply.status != 200)
    return make_error(ErrorCode::kUnavailable,
                      fmt::format("{} answered with status {}", target.url, reply.status));
  auto report = server::parse_status(reply.body);
  if (!report.ok()) {
    return make_error(report.error().code,
                      fmt::format("{} answers /v1/hedge/status, but not as a Hedge does ({})", target.url,
                                  report.error().detail));
  }
  if (raw != nullptr) *raw = std::move(reply.body);
  return report;
}

// While the model is loaded the status waits, so the health is asked first: whether anybody is there at all.
Status wait_until_loaded(HttpGet& http, const Target& target) {
  bool said = false;
  while (true) {
    auto reply = http.get(target.url + "/health");
    if (!reply.ok()) {
      Error error = std::move(reply).error();
      if (error.code != ErrorCode::kCancelled)
        error.detail = fmt::format("no server at {}: `hedge serve` starts one, --url says where it is ({})",
                                   target.url, error.detail);
      return error;
    }
    if (reply->status != 503 || reply->body.find("\"loading\"") == std::string::npos) return {};
    if (!said) fmt::print(stderr, "hedge: the server at {} is loading its model\n", printable(target.url));
    said = true;
    const Deadline until = deadline_after(kLoadingPoll);
    while (SteadyClock::now() < until) {
      if (interrupted()) return make_error(ErrorCode::kCancelled, "interrupted");
      std::this_thread::sleep_for(Milliseconds(20));
    }
  }
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view text(value);
    return text.find("UTF-8") != text.npos || text.find("utf8") != text.npos ||
           text.find("utf-8") != text.npos;
  }
  return false;
}

FrameStyle style_for(bool live) {
  FrameStyle style;
  const ScreenSize size = screen_size();
  style.columns = size.columns;
  style.rows = live ? size.rows : 1000;  // as many as there are
  const char* no_colour = std::getenv("NO_COLOR");
  style.colour = stdout_is_terminal() && (no_colour == nullptr || *no_colour == '\0');
  style.ascii = !locale_is_utf8();
  style.with_keys = live;
  return style;
}

double steady_seconds() {
  return std::chrono::duration<double>(SteadyClock::now().time_since_epoch()).count();
}

bool ends(int key) { return key == 'q' || key == 'Q'; }

// Until the user has enough. A server that goes away is waited for.
int watch_live(HttpGet& http, const Target& target, Watch& watch, Milliseconds interval, const bool& quit) {
  Screen screen;
  std::string trouble;
  while (!interrupted() && !quit) {
    const Deadline next = deadline_after(interval);
    auto report = ask(http, target, nullptr);
    if (report.ok()) {
      watch.add(std::move(report).value(), steady_seconds());
      trouble.clear();
    } else if (report.error().code != ErrorCode::kCancelled) {
      trouble = "not current: " + report.error().detail;
    }
    do {
      if (!screen.draw(frame_of(watch, target.url, trouble, style_for(true)))) return kExitOk;
      const auto left = std::chrono::ceil<Milliseconds>(next - SteadyClock::now());
      if (left.count() <= 0) break;
      if (ends(screen.key(left))) return kExitOk;
    } while (!interrupted() && !quit);
  }
  return kExitOk;
}

// While a slow server is waited for, its keys are read here.
bool quit_was_pressed() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  char key = 0;
  while (poll(&input, 1, 0) == 1 && read(STDIN_FILENO, &key, 1) == 1) {
    if (ends(key)) return true;
  }
  return false;
}

int run_top(const Options& options) {
  auto target = target_of(options);
  if (!target.ok()) return fail(target.error()), kExitUsage;
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  const bool live = !options.once && !options.as_json && stdin_is_terminal() && stdout_is_terminal() && !dumb;
  catch_interrupts();
  bool quit = false, on_screen = false;
  auto http = HttpGet::create(target->key, [&] {
    quit = quit || (on_screen && quit_was_pressed());
    return interrupted() || quit;
  });
  if (!http.ok()) return fail(http.error());
  if (const Status loaded = wait_until_loaded(**http, *target); !loaded.ok()) return fail(loaded.error());
  std::string raw;
  auto first = ask(**http, *target, &raw);
  if (!first.ok()) return fail(first.error());
  if (options.as_json) {
    fmt::print("{}\n", raw);
    return kExitOk;
  }
  Watch watch;
  watch.add(std::move(first).value(), steady_seconds());
  if (!live) {
    for (const std::string& line : frame_of(watch, target->url, {}, style_for(false)))
      fmt::print("{}\n", line);
    return kExitOk;
  }
  on_screen = true;
  return watch_live(**http, *target, watch, Milliseconds(static_cast<int64_t>(options.interval_s * 1000)),
                    quit);
}

}  // namespace

void add_top(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("top", "Watch a running server: requests, speed, routes, upstream, budget");
  command->footer(kFooter);
  command->add_option("--url", options->url, fmt::format("Address of the server (default {})", kDefaultUrl))
      ->type_name("URL");
  command
      ->add_option("--key", options->key,
                   fmt::format("Its API key; others can read a command line, so better {}", kKeyVariable))
      ->type_name("KEY");
  command->add_option("--config", options->config_path, "The server's TOML file: its address and its key")
      ->type_name("FILE");
  command->add_option("--interval", options->interval_s, "Seconds between two looks")
      ->type_name("S")
      ->transform(in_range(0.1, 3600.0))
      ->capture_default_str();
  command->add_flag("--once", options->once, "Print one frame as plain text and stop");
  command->add_flag("--json", options->as_json, "Print the server's status as JSON and stop");
  command->callback([options, &chosen] { chosen = [options] { return run_top(*options); }; });
}

}  // namespace hedge::cli
