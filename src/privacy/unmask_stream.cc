#include "privacy/unmask_stream.h"

#include <optional>
#include <utility>
#include <variant>

namespace hedge::privacy {
namespace {

class UnmaskedStream final : public chat::Stream {
 public:
  UnmaskedStream(std::unique_ptr<chat::Stream> inner, std::shared_ptr<const PlaceholderTable> table)
      : inner_(std::move(inner)), table_(std::move(table)), unmasker_(*table_) {}

  Result<chat::Event> next(Deadline deadline) override {
    if (last_) return *std::exchange(last_, std::nullopt);
    Result<chat::Event> event = inner_->next(deadline);
    if (!event.ok()) return event;  // what is held is no text of anybody's
    // Every member is named: one that is added does not compile here until somebody has said whether a
    // placeholder may stand in it. Texts of JSON (a tool's arguments) are unmasked by unmask_json().
    if (auto* delta = std::get_if<chat::Delta>(&event.value())) {
      auto& [text, tokens, states, p_wrong] = *delta;
      text = unmasker_.push(text);
      tokens.clear();
      states.reset();
      p_wrong.reset();
    } else if (auto* done = std::get_if<chat::Done>(&event.value())) {
      auto& [reason, usage, trace, states, tool_calls, p_wrong] =
          *done;  // numbers, and names out of another's trace
      (void)reason, (void)usage, (void)trace, (void)states, (void)p_wrong;
      for (chat::ToolCall& call : tool_calls) {
        auto& [id, function, arguments, extra] = call;
        (void)id, (void)function, (void)extra;  // they left as they are
        arguments = unmask_json(arguments, *table_);
      }
      unmasker_.drop_placeholder();
      if (std::string rest = unmasker_.finish(); !rest.empty()) {
        last_ = std::move(event).value();
        return chat::Event(chat::Delta{std::move(rest), {}});
      }
    }
    return event;
  }

  void cancel() override { inner_->cancel(); }
  int losers() const override { return inner_->losers(); }

 private:
  const std::unique_ptr<chat::Stream> inner_;
  const std::shared_ptr<const PlaceholderTable> table_;
  Unmasker unmasker_;
  std::optional<chat::Event> last_;  // Done, after the rest
};

}  // namespace

std::unique_ptr<chat::Stream> unmasked(std::unique_ptr<chat::Stream> stream,
                                       std::shared_ptr<const PlaceholderTable> table) {
  return std::make_unique<UnmaskedStream>(std::move(stream), std::move(table));
}

}  // namespace hedge::privacy
