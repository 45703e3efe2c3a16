// What a probe costs while an answer is decoded: two engines over the same file, one with the program's own
// probe for it, take turns at answers of the same prompt, both with confidence figures. Prints the medians of
// milliseconds per token, their difference as a share with a 95 % interval (bootstrap over pairs), and the
// time of one look.
//
//   probe_bench MODEL.gguf [PAIRS] [TOKENS] [THREADS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "model/config.h"
#include "route/probe_reader.h"

namespace {

using namespace hedge;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

std::shared_ptr<const route::Probe> probe_for(const model::Config& config) {
  for (const std::string_view bytes : route::default_probes()) {
    auto probe = route::Probe::parse(bytes);
    if (probe.ok() && probe->model.layers == static_cast<uint32_t>(config.layers) &&
        probe->model.dim == static_cast<uint32_t>(config.dim))
      return std::make_shared<const route::Probe>(std::move(probe).value());
  }
  return nullptr;
}

// Milliseconds of decoding per token; below 0: an error.
double answer(engine::Engine& engine, const std::string& prompt, int tokens) {
  chat::Request request;
  request.raw = request.ignore_eos = request.want_confidence = true;
  request.prompt = prompt;
  request.max_tokens = tokens;
  request.sampling.temperature = 0;
  const auto stream = engine.start(request);
  while (stream.ok()) {
    const auto event = (*stream)->next(kNoDeadline);
    if (!event.ok()) break;
    if (const auto* done = std::get_if<chat::Done>(&*event)) return done->usage.decode_ms / (tokens - 1);
  }
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int index, int fallback) {
    return argc > index ? std::atoi(argv[index]) : fallback;
  };
  const int pairs = number(2, 30), tokens = number(3, 64), threads = number(4, 2);
  if (argc < 2 || pairs < 3 || tokens < 2) {
    std::fprintf(stderr, "usage: probe_bench MODEL.gguf [PAIRS] [TOKENS] [THREADS]\n");
    return 2;
  }
  engine::Options options;
  options.threads = threads;
  options.slots = 1;
  options.context_tokens = 1024;
  options.speculation = "off";
  const auto without = engine::Engine::load(argv[1], options);
  std::shared_ptr<const route::Probe> probe;
  options.probe = [&](const gguf::File&,
                      const model::Config& config) -> Result<std::shared_ptr<const chat::StateProbe>> {
    probe = probe_for(config);
    return probe == nullptr ? nullptr : route::make_reader(probe, route::ReadAt::kSomeTokens);
  };
  const auto with = engine::Engine::load(argv[1], options);
  if (!without.ok() || !with.ok() || probe == nullptr) {
    std::fprintf(stderr, "probe_bench: expected a model with a probe of its own at %s\n", argv[1]);
    return 1;
  }
  std::vector<double> off, on, shares;
  for (int i = -1; i < pairs; ++i) {
    const std::string prompt = "Question " + std::to_string(i) + ": what is the longest river?\nAnswer:";
    double first = 0, second = 0;
    for (const bool probed : {i % 2 == 0, i % 2 != 0})
      (probed ? second : first) = answer(probed ? **with : **without, prompt, tokens);
    if (i < 0 || first <= 0 || second <= 0) continue;  // the first warms up
    off.push_back(first);
    on.push_back(second);
    shares.push_back(second / first - 1);
  }
  Rng rng(1);
  std::vector<double> medians;
  for (int round = 0; round < 1000; ++round) {
    std::vector<double> drawn;
    for (size_t i = 0; i < shares.size(); ++i) drawn.push_back(shares[rng.below(shares.size())]);
    medians.push_back(median(drawn));
  }
  std::sort(medians.begin(), medians.end());
  const std::vector<float> states(probe->blocks.size() * probe->model.dim, 0.1f);
  const route::ProbeInput input{states, states, {}};
  const auto begin = SteadyClock::now();
  double sum = 0;
  for (int i = 0; i < 2000; ++i) sum += probe->wrong(input, 1);
  const double look_us = 1e6 * seconds_since(begin) / 2000;
  std::printf(
      "%d pairs of %d tokens, %d threads: %.3f ms a token without, %.3f with; %+.2f %% (%+.2f to %+.2f); a "
      "look "
      "%.0f us\n",
      pairs, tokens, threads, median(off), median(on), 100 * median(shares), 100 * medians[25],
      100 * medians[974], look_us);
  return sum == 0.5 ? 1 : 0;  // keeps the work
}
