#include "route/in_flight.h"

#include <fmt/format.h>

#include <utility>

namespace hedge::route {
namespace {

Finding finding_of(std::string_view what, const Judgement& judgement) {
  return {what, fmt::format("{} of {} tokens", judgement.signal, judgement.tokens), judgement.value,
          judgement.threshold, judgement.unsure};
}

}  // namespace

InFlight::InFlight(const Confidence& rule, const Thresholds* thresholds, const chat::Request& request)
    : thresholds_(thresholds),
      rule_(rule),
      monitor_(rule),
      form_(asked_form(request)),
      asked_(asked_form(request)) {}

Finding InFlight::judge_probe(int tokens, double p_wrong) {
  Finding finding{"confidence.probe",
                  tokens == kWholeAnswer ? "the whole answer"
                  : tokens == 1          ? "the prompt"
                                         : fmt::format("{} tokens", tokens),
                  p_wrong, 1, false};
  if (const Checkpoint* point = thresholds_->at(tokens)) {
    finding.threshold = point->send_above;
    finding.unsure = p_wrong > point->send_above;
    sure_ = p_wrong < point->keep_below;
  }
  return finding;
}

std::vector<Finding> InFlight::push(const chat::Delta& delta, bool held) {
  std::vector<Finding> findings;
  for (const chat::TokenInfo& token : delta.tokens) {
    monitor_.push(token);
    if (const auto loop = loop_.push(token.chosen.id))
      findings.push_back({"confidence.repetition", "tokens in a loop", static_cast<double>(*loop),
                          LoopWatch::kTokensMin, rule_.repetition});
    const bool beyond = !probed_ || monitor_.tokens() > thresholds_->last_tokens();
    if (held || !beyond) continue;
    const std::optional<Judgement> judgement = monitor_.judge_mid();
    if (judgement && judgement->unsure) findings.push_back(finding_of("confidence.mid", *judgement));
  }
  if (delta.p_wrong && thresholds_ != nullptr && thresholds_->at(monitor_.tokens()) != nullptr) {
    probed_ = judge_probe(monitor_.tokens(), static_cast<double>(*delta.p_wrong));
    // Each look that decides, and the one before anything was generated.
    if (probed_->unsure || !noted_) findings.push_back(*probed_);
    noted_ = true;
  }
  if (const auto broken = form_.push(delta.text)) {
    std::string detail(broken->what);
    if (asked_ != Form::kFree) detail += fmt::format(", asked for {}", to_string(asked_));
    findings.push_back(
        {"confidence.format", std::move(detail), broken->value, broken->threshold, rule_.format});
  }
  return findings;
}

Finding InFlight::judge_first(const chat::Done* done) {
  if (!probed_) {
    Finding finding = finding_of("confidence.first", monitor_.judge_first());
    if (!finding.unsure) finding.what = "confidence.ok";
    return finding;
  }
  if (done != nullptr && done->p_wrong) {
    Finding whole = judge_probe(kWholeAnswer, static_cast<double>(*done->p_wrong));
    if (whole.unsure) return whole;
  }
  Finding finding = *probed_;
  finding.what = "confidence.ok";
  finding.unsure = false;
  return finding;
}

}  // namespace hedge::route
