#include "cli/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cwchar>
#include <filesystem>

#include "cli/terminal.h"
#include "os/library.h"

namespace hedge::cli {
namespace {

constexpr int kHistoryEntriesMax = 1000;

// libedit, loaded for conversations only (os/library.h).
#define HEDGE_EDIT_FUNCTIONS(X) \
  X(el_end)                     \
  X(el_init)                    \
  X(el_source)                  \
  X(el_wget)                    \
  X(el_wgets)                   \
  X(el_wset)                    \
  X(history_w)                  \
  X(history_wend)               \
  X(history_winit)
struct LibEdit {
#define HEDGE_EDIT_FUNCTION(name) decltype(&::name) name = nullptr;
  HEDGE_EDIT_FUNCTIONS(HEDGE_EDIT_FUNCTION)
#undef HEDGE_EDIT_FUNCTION
} libedit;

// One character from the terminal. libedit's own reader goes on after a signal; ours lets Ctrl-C end the
// line.
int read_character(EditLine*, wchar_t* out) {
  std::mbstate_t state = {};
  while (true) {
    char byte = 0;
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count == 0) return 0;
    if (count < 0) {
      if (errno == EINTR && !interrupted()) continue;
      return -1;
    }
    const size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;  // the character goes on
    if (used == static_cast<size_t>(-1)) *out = L'\uFFFD';
    return 1;
  }
}

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  HistoryW* history = nullptr;
  std::wstring prompt;
  std::string history_path;
};

namespace {
std::wstring widen(const std::string& text) {
  std::wstring out(text.size() + 1, L'\0');
  const size_t count = std::mbstowcs(out.data(), text.c_str(), out.size());
  out.resize(count == static_cast<size_t>(-1) ? 0 : count);
  return out;
}

std::string narrow(const wchar_t* text) {
  std::string out(std::wcslen(text) * 4 + 1, '\0');
  const size_t count = std::wcstombs(out.data(), text, out.size());
  out.resize(count == static_cast<size_t>(-1) ? 0 : count);
  return out;
}
}  // namespace

Status LineEditor::load() {
  HEDGE_TRY_SET(const os::Library library, os::Library::open("libedit.so.2"));
#define HEDGE_EDIT_FUNCTION(name) HEDGE_TRY(library.find(#name, libedit.name));
  HEDGE_EDIT_FUNCTIONS(HEDGE_EDIT_FUNCTION)
#undef HEDGE_EDIT_FUNCTION
  return {};
}

LineEditor::LineEditor(std::string history_path) : state_(std::make_unique<State>()) {
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
  state_->history_path = std::move(history_path);
  state_->editor = libedit.el_init("hedge", stdin, stdout, stderr);
  state_->history = libedit.history_winit();
  HistEventW event;
  libedit.history_w(state_->history, &event, H_SETSIZE, kHistoryEntriesMax);
  libedit.history_w(state_->history, &event, H_SETUNIQUE, 1);
  libedit.history_w(state_->history, &event, H_LOAD, state_->history_path.c_str());
  libedit.el_wset(state_->editor, EL_CLIENTDATA, state_.get());
  libedit.el_wset(
      state_->editor, EL_PROMPT, +[](EditLine* editor) -> wchar_t* {
        State* state = nullptr;
        libedit.el_wget(editor, EL_CLIENTDATA, &state);
        return state->prompt.data();
      });
  libedit.el_wset(state_->editor, EL_EDITOR, L"emacs");
  libedit.el_wset(state_->editor, EL_HIST, libedit.history_w, state_->history);
  libedit.el_wset(state_->editor, EL_GETCFN, read_character);
  libedit.el_wset(state_->editor, EL_BIND, L"^R", L"em-inc-search-prev", nullptr);
  libedit.el_source(state_->editor, nullptr);  // the user's ~/.editrc
}

LineEditor::~LineEditor() {
  HistEventW event;
  libedit.history_w(state_->history, &event, H_SAVE, state_->history_path.c_str());
  std::error_code ignored;  // what people typed is theirs alone
  std::filesystem::permissions(state_->history_path,
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_write,
                               ignored);
  libedit.history_wend(state_->history);
  libedit.el_end(state_->editor);
}

LineEditor::Outcome LineEditor::read(const std::string& prompt, std::string& line) {
  state_->prompt = widen(prompt);
  clear_interrupt();
  int count = 0;
  const wchar_t* text = libedit.el_wgets(state_->editor, &count);
  if (interrupted()) {
    clear_interrupt();
    libedit.el_wset(state_->editor, EL_PREP_TERM, 0);
    std::fputs("\n", stdout);
    return Outcome::kInterrupted;
  }
  if (text == nullptr || count <= 0) return Outcome::kEnd;
  line = narrow(text);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return Outcome::kLine;
}

void LineEditor::remember(const std::string& entry) {
  HistEventW event;
  libedit.history_w(state_->history, &event, H_ENTER, widen(entry).c_str());
}

}  // namespace hedge::cli
