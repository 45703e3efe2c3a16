#include "engine/sequence.h"

namespace hedge::engine {

Result<chat::Event> TicketStream::next(Deadline deadline) {
  if (ended_ || ticket_->cancelled.load())
    return make_error(ErrorCode::kCancelled, "the answer has ended or was cancelled");
  std::optional<Result<chat::Event>> event;
  switch (ticket_->events.pop(event, deadline)) {
    case Channel<Result<chat::Event>>::Pop::kTimeout:
      return make_error(ErrorCode::kTimeout, "no token came before the deadline");
    case Channel<Result<chat::Event>>::Pop::kClosed:
      ended_ = true;
      return make_error(ErrorCode::kCancelled, "the answer was cancelled");
    case Channel<Result<chat::Event>>::Pop::kValue:
      break;
  }
  if (ticket_->cancelled.load()) return make_error(ErrorCode::kCancelled, "the answer was cancelled");
  if (!event->ok() || std::holds_alternative<chat::Done>(event->value())) ended_ = true;
  return std::move(*event);
}

void TicketStream::cancel() {
  if (ticket_->cancelled.exchange(true)) return;
  ticket_->events.close();
  ticket_->bell->ring();
}

std::string AnswerText::strip(std::string text) {
  if (strip_bytes_ > 0) {
    const size_t cut = std::min(strip_bytes_, text.size());
    text.erase(0, cut);
    strip_bytes_ -= cut;
  }
  if (strip_space_ && !text.empty()) {
    if (text.front() == ' ') text.erase(0, 1);
    strip_space_ = false;
  }
  return text;
}

}  // namespace hedge::engine
