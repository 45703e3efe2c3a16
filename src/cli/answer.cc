#include "cli/answer.h"

#include <fmt/format.h>

#include "cli/terminal.h"

namespace hedge::cli {
namespace {
// How long an interrupt may go unnoticed while no token comes.
constexpr Milliseconds kInterruptPoll{50};
}  // namespace

Result<Answer> stream_answer(chat::Backend& backend, const chat::Request& request,
                             const std::function<bool(std::string_view)>& sink) {
  const auto began = SteadyClock::now();
  HEDGE_TRY_SET(const std::unique_ptr<chat::Stream> stream, backend.start(request));
  Answer answer;
  while (true) {
    if (interrupted()) {
      stream->cancel();
      answer.stopped = true;
      break;
    }
    const Result<chat::Event> event = stream->next(deadline_after(kInterruptPoll));
    if (!event.ok()) {
      if (event.error().code == ErrorCode::kTimeout) continue;
      return event.error();
    }
    if (const auto* delta = std::get_if<chat::Delta>(&*event); delta != nullptr && !delta->text.empty()) {
      if (answer.text.empty()) answer.first_text_ms = seconds_since(began) * 1000;
      answer.text += delta->text;
      if (!sink(delta->text)) {
        stream->cancel();
        answer.stopped = true;
        break;
      }
    } else if (const auto* done = std::get_if<chat::Done>(&*event)) {
      answer.reason = done->reason;
      answer.usage = done->usage;
      break;
    }
  }
  answer.total_ms = seconds_since(began) * 1000;
  return answer;
}

std::string stats_line(const Answer& answer) {
  const chat::Usage& u = answer.usage;
  if (answer.stopped) return fmt::format("stopped after {:.2f} s", answer.total_ms / 1000);
  std::string line = fmt::format("{} tokens", u.completion_tokens);
  if (u.decode_ms > 0) line += fmt::format(" at {:.1f}/s", u.completion_tokens * 1000.0 / u.decode_ms);
  if (u.draft_tokens > 0)
    line += fmt::format(" ({} of {} drafted ones accepted)", u.draft_tokens_accepted, u.draft_tokens);
  line += fmt::format("; prompt of {}", u.prompt_tokens);
  if (u.cached_tokens > 0) line += fmt::format(" ({} cached)", u.cached_tokens);
  return line + fmt::format(" read in {:.2f} s; first text after {:.2f} s", u.prefill_ms / 1000,
                            answer.first_text_ms / 1000);
}

}  // namespace hedge::cli
