#include "route/probe_reader.h"

#include <algorithm>
#include <utility>

namespace hedge::route {
namespace {

class Answer final : public chat::AnswerProbe {
 public:
  Answer(std::shared_ptr<const Probe> probe, ReadAt when) : probe_(std::move(probe)), when_(when) {}

  void token(const chat::TokenInfo& token) override {
    facts_.add(token.chosen.logprob, token.entropy, token.margin);
  }

  bool wants() const override {
    return when_ == ReadAt::kEveryToken ||
           std::binary_search(kCheckpoints.begin(), kCheckpoints.end(), facts_.tokens());
  }

  float wrong(const chat::StateView& states) override {
    const ProbeInput input{states.prompt, states.answer, facts_.values()};
    // The prompt stays the same, and so does whether it is one that the probe knows.
    if (familiarity_ < 0) familiarity_ = probe_->regions.familiarity(states.prompt);
    return static_cast<float>(states.tokens == 0 ? probe_->wrong_before(input, familiarity_)
                                                 : probe_->wrong(input, familiarity_));
  }

 private:
  const std::shared_ptr<const Probe> probe_;
  const ReadAt when_;
  TokenFacts facts_;
  double familiarity_ = -1;
};

class Reader final : public chat::StateProbe {
 public:
  Reader(std::shared_ptr<const Probe> probe, ReadAt when) : probe_(std::move(probe)), when_(when) {}

  std::span<const int> blocks() const override { return probe_->blocks; }
  std::unique_ptr<chat::AnswerProbe> begin() const override {
    return std::make_unique<Answer>(probe_, when_);
  }

 private:
  const std::shared_ptr<const Probe> probe_;
  const ReadAt when_;
};

}  // namespace

std::shared_ptr<const chat::StateProbe> make_reader(std::shared_ptr<const Probe> probe, ReadAt when) {
  return std::make_shared<Reader>(std::move(probe), when);
}

}  // namespace hedge::route
