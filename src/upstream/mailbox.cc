#include "upstream/mailbox.h"

#include <utility>

#include "upstream/libcurl.h"

namespace hedge::upstream {
namespace {

class MailboxStream : public chat::Stream {
 public:
  MailboxStream(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Waker> waker)
      : mailbox_(std::move(mailbox)), waker_(std::move(waker)) {}
  ~MailboxStream() override { cancel(); }

  Result<chat::Event> next(Deadline deadline) override {
    using Pop = Channel<Result<chat::Event>>::Pop;
    if (ended_) return over();
    std::optional<Result<chat::Event>> item;
    const Pop popped = mailbox_->events.pop(item, deadline);
    if (mailbox_->cancelled) return over();
    if (popped == Pop::kTimeout)
      return make_error(ErrorCode::kTimeout, "stream: no event before the deadline");
    if (popped == Pop::kClosed) return over();
    if (mailbox_->wants_room && mailbox_->has_room()) waker_->wake();
    ended_ = !item->ok() || std::holds_alternative<chat::Done>(**item);
    return std::move(*item);
  }

  void cancel() override {
    if (mailbox_->cancelled.exchange(true)) return;
    mailbox_->events.close();
    waker_->wake();
  }

 private:
  static Error over() { return make_error(ErrorCode::kCancelled, "stream: over or cancelled"); }

  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<Waker> waker_;
  bool ended_ = false;  // the consumer's alone
};

}  // namespace

void Waker::wake() {
  std::lock_guard lock(mutex_);
  if (multi_ != nullptr) libcurl().multi_wakeup(static_cast<CURLM*>(multi_));
}

void Waker::detach() {
  std::lock_guard lock(mutex_);
  multi_ = nullptr;
}

std::unique_ptr<chat::Stream> make_stream(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Waker> waker) {
  return std::make_unique<MailboxStream>(std::move(mailbox), std::move(waker));
}

}  // namespace hedge::upstream
