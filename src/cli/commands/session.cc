// hedge session: the conversations that are kept; shown, taken to another Hedge, removed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ctime>
#include <iostream>
#include <iterator>

#include "cli/command.h"
#include "cli/config/config.h"
#include "cli/session_store.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "session/capsule.h"

namespace hedge::cli {
namespace {

struct Options {
  std::string config_path;
  std::string data_dir;
  std::string id;
  std::string file;
  std::string out;
  std::string tenant;
  bool has_tenant = false;
};

constexpr const char* kFooter = R"(
Examples:
  hedge session list
  hedge session show my-chat
  hedge session export my-chat --out my-chat.json     a capsule: everything that another Hedge needs
  hedge session import my-chat.json --data-dir DIR    and there the conversation goes on
  hedge session delete my-chat

A capsule holds the conversation in clear. A session marked private stays so wherever its capsule is imported;
to carry it to another machine is your decision, Hedge itself sends it nowhere. Works beside a running server.
docs/sessions.md has the form of a capsule.)";

Result<std::unique_ptr<session::Store>> open_store(const Options& options, bool make) {
  HEDGE_TRY_SET(const Settings settings, settings_from(options.config_path, options.data_dir));
  if (make) {
    HEDGE_TRY_SET(const std::string folder, data_folder(settings));
    HEDGE_TRY(os::make_dirs(folder));
    return session::Store::open(store_address(settings, folder));
  }
  return open_recorded(settings);
}

std::string time_text(int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm time{};
  localtime_r(&seconds, &time);
  char text[32];
  return std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &time) > 0 ? text : "";
}

Error named(Error error, const std::string& id) {
  if (error.code == ErrorCode::kNotFound)
    error.detail = fmt::format("there is no session '{}'; `hedge session list` has them", printable(id));
  return error;
}

int run_list(const Options& options) {
  const auto store = open_store(options, false);
  if (!store.ok()) return fail(store.error());
  const auto heads =
      (*store)->list(options.has_tenant ? std::optional(options.tenant) : std::optional<std::string>());
  if (!heads.ok()) return fail(heads.error());
  if (heads->empty()) {
    fmt::print("no sessions\n");
    return kExitOk;
  }
  fmt::print("{:<24} {:<16} {:>6} {:<8} {:<12} {:>15}\n", "session", "begun", "turns", "private", "tenant",
             "upstream tokens");
  for (const session::SessionHead& head : *heads) {
    fmt::print("{:<24} {:<16} {:>6} {:<8} {:<12} {:>15}\n", printable(head.id), time_text(head.created_ms),
               head.turns, head.is_private ? "yes" : "", printable(head.tenant), head.used.tokens);
  }
  if (heads->size() == session::kListedSessionsMax)
    fmt::print("the newest {} are listed\n", session::kListedSessionsMax);
  return kExitOk;
}

int run_show(const Options& options) {
  const auto store = open_store(options, false);
  if (!store.ok()) return fail(store.error());
  const auto session = (*store)->load(options.id);
  if (!session.ok()) return fail(named(session.error(), options.id));
  if (session->head.is_private) fmt::print("private: it is answered on this device\n");
  for (const session::Turn& turn : session->turns) {
    std::string who;
    for (const chat::Segment& segment : turn.segments) {
      if (!who.empty()) who += ", ";
      who += fmt::format("{} {} bytes", segment.backend, segment.bytes);
    }
    fmt::print("\n[{}{}{}]\n{}\n", chat::to_string(turn.message.role), who.empty() ? "" : ": ",
               printable(who), printable(turn.message.content, "\n\t"));
    for (const chat::ToolCall& call : turn.message.tool_calls) {
      fmt::print("calls {}({}) as {}, for {}\n", printable(call.name), printable(call.arguments),
                 printable(call.id), printable(chat::name_of_writer(turn.writer)));
    }
  }
  return kExitOk;
}

int run_export(const Options& options) {
  const auto store = open_store(options, false);
  if (!store.ok()) return fail(store.error());
  auto session = (*store)->load(options.id);
  if (!session.ok()) return fail(named(session.error(), options.id));
  const bool is_private = session->head.is_private;
  session->head.id = session::public_id(session->head.id);
  const std::string text = session::encode_capsule({std::move(session).value(), std::nullopt});
  if (options.out.empty()) {
    fmt::print("{}", text);
  } else if (const Status written = os::write_file_atomic(options.out, text, 0600); !written.ok()) {
    return fail(written.error());
  }
  if (is_private) fmt::print(stderr, "hedge: this session is private: the capsule holds it in clear\n");
  return kExitOk;
}

int run_import(const Options& options) {
  std::string text;
  if (options.file == "-") {
    char piece[65536];
    while (text.size() <= session::kCapsuleBytesMax && std::cin.read(piece, sizeof(piece)).gcount() > 0)
      text.append(piece, static_cast<size_t>(std::cin.gcount()));
  } else {
    auto read = os::read_file(options.file, session::kCapsuleBytesMax);
    if (!read.ok()) return fail(read.error());
    text = std::move(read).value();
  }
  auto capsule = session::decode_capsule(text);
  if (!capsule.ok()) {
    Error error = std::move(capsule).error();
    error.detail = fmt::format("{}: {}", printable(options.file), error.detail);
    return fail(error);
  }
  if (options.has_tenant) capsule->session.head.tenant = options.tenant;
  const auto store = open_store(options, true);
  if (!store.ok()) return fail(store.error());
  const auto adopted = (*store)->adopt(capsule->session);
  if (!adopted.ok()) return fail(adopted.error());
  const session::SessionHead& head = capsule->session.head;
  fmt::print("{}: {} turns{}{}\n", printable(head.id), head.turns, head.is_private ? ", private" : "",
             *adopted ? "" : ", all of them here already");
  return kExitOk;
}

int run_delete(const Options& options) {
  const auto store = open_store(options, false);
  if (!store.ok()) return fail(store.error());
  const Status removed = (*store)->remove(options.id);
  if (!removed.ok()) return fail(named(removed.error(), options.id));
  fmt::print("deleted {}\n", printable(options.id));
  return kExitOk;
}

}  // namespace

void add_session(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("session", "List, show, export, import or delete conversations");
  command->footer(kFooter);
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, int (*run)(const Options&)) {
    CLI::App* sub = command->add_subcommand(name, help);
    sub->add_option("--config", options->config_path, "TOML file of `hedge serve`")->type_name("FILE");
    sub->add_option("--data-dir", options->data_dir, "Folder of the session database")->type_name("DIR");
    sub->callback([options, run, &chosen] { chosen = [options, run] { return run(*options); }; });
    return sub;
  };
  const auto id = [&](CLI::App* sub) { sub->add_option("ID", options->id, "The session's id")->required(); };
  const auto tenant = [&](CLI::App* sub, const char* help) {
    sub->add_option_function<std::string>(
           "--tenant",
           [options](const std::string& name) {
             options->tenant = name;
             options->has_tenant = true;
           },
           help)
        ->type_name("NAME");
  };
  tenant(add("list", "The newest sessions", run_list), "Only those of this tenant");
  id(add("show", "The turns of a session, and who wrote them", run_show));
  CLI::App* out = add("export", "A session as a capsule: one JSON document", run_export);
  id(out);
  out->add_option("--out", options->out, "File to write, for its owner alone; else standard output")
      ->type_name("FILE");
  CLI::App* in =
      add("import", "Go on with a capsule's session here; again only adds what is new", run_import);
  in->add_option("FILE", options->file, "The capsule; - is standard input")->required();
  tenant(in, "Whose session it becomes; else the capsule's own tenant");
  id(add("delete", "Remove a session with its turns and decisions", run_delete));
}

}  // namespace hedge::cli
