#include "cli/repl.h"

#include <fmt/format.h>

#include <charconv>
#include <functional>

#include "cli/answer.h"
#include "cli/line_editor.h"
#include "cli/names.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

constexpr const char* kHelp = R"(  /set               show the parameters; /set NAME VALUE changes one
  /show              about the model and this conversation
  /clear             forget the conversation
  /help              this help
  /bye               leave (or Ctrl-D)
  """                begins and ends a text of several lines
  Ctrl-C             stops the answer
)";

struct Parameter {
  const char* name;
  const char* help;
  std::function<std::string(const ChatSettings&)> show;
  std::function<bool(ChatSettings&, const std::string&)> set;
};

template <typename Number>
bool parse_number(const std::string& text, Number low, Number high, Number& out) {
  Number value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || !(value >= low && value <= high))
    return false;
  out = value;
  return true;
}

Parameter number_parameter(const char* name, const char* help, float chat::Sampling::*member, float low,
                           float high) {
  return {name, help, [=](const ChatSettings& s) { return fmt::format("{}", s.sampling.*member); },
          [=](ChatSettings& s, const std::string& text) {
            return parse_number(text, low, high, s.sampling.*member);
          }};
}

const std::vector<Parameter>& parameters() {
  static const std::vector<Parameter> kParameters = {
      number_parameter("temperature", "0 to 5; 0 always takes the best token", &chat::Sampling::temperature,
                       0, 5),
      {"top_k", "0 to 1000000; 0 turns it off",
       [](const ChatSettings& s) { return std::to_string(s.sampling.top_k); },
       [](ChatSettings& s, const std::string& text) {
         return parse_number(text, 0, 1000000, s.sampling.top_k);
       }},
      number_parameter("top_p", "0 to 1; 1 turns it off", &chat::Sampling::top_p, 0, 1),
      number_parameter("min_p", "0 to 1; 0 turns it off", &chat::Sampling::min_p, 0, 1),
      number_parameter("repeat_penalty", "0.1 to 10; 1 turns it off", &chat::Sampling::repeat_penalty, 0.1f,
                       10),
      {"seed", "a whole number, or 'none' for a fresh one each time",
       [](const ChatSettings& s) {
         return s.sampling.seed ? std::to_string(*s.sampling.seed) : std::string("none");
       },
       [](ChatSettings& s, const std::string& text) {
         if (text == "none") return s.sampling.seed.reset(), true;
         uint64_t seed = 0;
         if (!parse_number<uint64_t>(text, 0, UINT64_MAX, seed)) return false;
         s.sampling.seed = seed;
         return true;
       }},
      {"max_tokens", "1 or more, or -1 for no limit but the context",
       [](const ChatSettings& s) { return std::to_string(s.max_tokens); },
       [](ChatSettings& s, const std::string& text) {
         return parse_number(text, -1, 1 << 30, s.max_tokens);
       }},
      {"system", "text that stands above the conversation", [](const ChatSettings& s) { return s.system; },
       [](ChatSettings& s, const std::string& text) { return s.system = text, true; }},
  };
  return kParameters;
}

class Repl {
 public:
  Repl(chat::Backend& backend, ChatSettings settings, const std::string& history_path,
       const std::string& about, bool show_stats)
      : backend_(backend),
        settings_(std::move(settings)),
        editor_(history_path),
        about_(about),
        show_stats_(show_stats) {}

  int run() {
    fmt::print("{}\nAsk something, or /help.\n", about_);
    std::string text;
    while (read_entry(text)) {
      if (text.find_first_not_of(" \t\n") == std::string::npos) continue;
      editor_.remember(text);
      if (text.front() == '/') {
        if (!run_command(text)) break;
      } else {
        answer(text);
      }
    }
    fmt::print("\n");
    return kExitOk;
  }

 private:
  // A line, or several between """ and """. False at the end of input.
  bool read_entry(std::string& text) {
    static const std::string kQuotes = "\"\"\"";
    text.clear();
    LineEditor::Outcome outcome;
    do {
      outcome = editor_.read(">>> ", text);
      if (outcome == LineEditor::Outcome::kInterrupted) fmt::print("(Ctrl-D or /bye leaves)\n");
    } while (outcome == LineEditor::Outcome::kInterrupted);
    if (outcome == LineEditor::Outcome::kEnd) return false;
    if (!text.starts_with(kQuotes)) return true;
    text.erase(0, kQuotes.size());
    while (!text.ends_with(kQuotes)) {
      std::string line;
      outcome = editor_.read("... ", line);
      if (outcome == LineEditor::Outcome::kEnd) return false;
      if (outcome == LineEditor::Outcome::kInterrupted) return text.clear(), true;
      text += "\n" + line;
    }
    text.resize(text.size() - kQuotes.size());
    return true;
  }

  // False for /bye.
  bool run_command(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, space);
    const std::string rest = line.substr(std::min(line.find_first_not_of(' ', space), line.size()));
    if (name == "/bye" || name == "/exit" || name == "/quit") return false;
    if (name == "/help" || name == "/?") {
      fmt::print("{}", kHelp);
    } else if (name == "/clear") {
      messages_.clear();
      fmt::print("The conversation is forgotten.\n");
    } else if (name == "/show") {
      fmt::print("{}\n{} turns in this conversation.\n", about_, messages_.size());
    } else if (name == "/set") {
      set(rest);
    } else {
      const std::string near = nearest(name, {"/help", "/clear", "/show", "/set", "/bye"});
      fmt::print("No command {}{}\n", name,
                 near.empty() ? "; /help lists them" : fmt::format("; did you mean {}?", near));
    }
    return true;
  }

  void set(const std::string& rest) {
    if (rest.empty()) {
      fmt::print("{}", parameters_text(settings_));
      return;
    }
    const size_t space = std::min(rest.find(' '), rest.size());
    const std::string value = rest.substr(std::min(rest.find_first_not_of(' ', space), rest.size()));
    if (const Status status = set_parameter(settings_, rest.substr(0, space), value); !status.ok()) {
      fmt::print("{}\n", status.error().detail);
    }
  }

  void answer(const std::string& text) {
    chat::Request request;
    request.sampling = settings_.sampling;
    request.max_tokens = settings_.max_tokens;
    if (!settings_.system.empty()) request.messages.push_back({chat::Role::kSystem, settings_.system, {}});
    request.messages.insert(request.messages.end(), messages_.begin(), messages_.end());
    request.messages.push_back({chat::Role::kUser, text, {}});

    clear_interrupt();
    const auto answer = stream_answer(backend_, request, print_answer);
    fmt::print("\n");
    std::fflush(stdout);
    clear_interrupt();
    if (!answer.ok()) {
      fail(answer.error());
      if (answer.error().code == ErrorCode::kContextExceeded) {
        fmt::print(stderr, "       /clear forgets the conversation and makes room.\n");
      }
      return;
    }
    if (show_stats_) fmt::print(stderr, "[{}]\n", stats_line(*answer));
    messages_.push_back({chat::Role::kUser, text, {}});
    messages_.push_back({chat::Role::kAssistant, answer->text, {}});
  }

  chat::Backend& backend_;
  ChatSettings settings_;
  LineEditor editor_;
  const std::string about_;
  const bool show_stats_;
  std::vector<chat::Message> messages_;
};

}  // namespace

Status set_parameter(ChatSettings& settings, const std::string& name, const std::string& value) {
  std::vector<std::string> names;
  for (const Parameter& p : parameters()) {
    names.emplace_back(p.name);
    if (name != p.name) continue;
    if (p.set(settings, value)) return {};
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{} must be {}, got '{}'", name, p.help, value));
  }
  const std::string near = nearest(name, names);
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("no parameter '{}'; {}", name,
                                near.empty() ? fmt::format("there are {}", fmt::join(names, ", "))
                                             : fmt::format("did you mean '{}'?", near)));
}

std::string parameters_text(const ChatSettings& settings) {
  std::string out;
  for (const Parameter& p : parameters())
    out += fmt::format("  {:<15} {:<12} {}\n", p.name, p.show(settings), p.help);
  return out;
}

int run_repl(chat::Backend& backend, ChatSettings settings, const std::string& history_path,
             const std::string& about, bool show_stats) {
  if (const Status loaded = LineEditor::load(); !loaded.ok()) return fail(loaded.error());
  return Repl(backend, std::move(settings), history_path, about, show_stats).run();
}

}  // namespace hedge::cli
