#include "cli/stack.h"

#include "base/clock.h"
#include "cli/config/config.h"
#include "cli/environment.h"
#include "cli/probes.h"
#include "cli/session_store.h"
#include "upstream/tiers.h"

namespace hedge::cli {
namespace {

constexpr int64_t kDayMs = 24 * 60 * 60 * 1000;

// What this UTC day has cost already, so that a restart does not open the budget anew.
Status restore_budget(session::Store& store, route::Router& router) {
  const int64_t now_ms = unix_time_ms();
  HEDGE_TRY_SET(const std::vector<session::Spent> all, store.upstream_spent_since(now_ms - now_ms % kDayMs));
  for (const session::Spent& spent : all)
    router.seed_upstream_today({spent.tokens, spent.nanos}, spent.tenant);
  return {};
}

// What judges the local answer: the probe that the settings name, and the thresholds that belong to it.
struct Judge {
  std::shared_ptr<const route::Probe> probe;
  std::shared_ptr<const route::Thresholds> thresholds;
};

// Finds both when the model is open; errors say where they were named. `judge` outlives the load.
ProbeLoader judge_loader(const Settings& settings, Judge& judge) {
  const route::Confidence& rule = settings.policy.confidence;
  const ProbeLoader loader = probe_loader(rule.probe, route::ReadAt::kSomeTokens, judge.probe);
  return [&settings, &rule, &judge, loader](
             const gguf::File& file,
             const model::Config& config) -> Result<std::shared_ptr<const chat::StateProbe>> {
    auto reader = loader(file, config);
    if (!reader.ok()) return wrong_value(settings, "policy.confidence", "probe", reader.error().detail);
    if (*reader == nullptr) {
      if (rule.thresholds.empty()) return reader;
      return wrong_value(settings, "policy.confidence", "thresholds",
                         "there is no probe for this model that they could belong to; 'probe' names one");
    }
    auto found = find_thresholds(rule.thresholds, *judge.probe);
    if (!found.ok()) return wrong_value(settings, "policy.confidence", "thresholds", found.error().detail);
    judge.thresholds = std::move(found).value();
    if (judge.thresholds) return reader;
    if (rule.probe != "auto" && settings.engine.warn) {
      settings.engine.warn(
          "the probe has no thresholds, so the tokens' probabilities decide; `hedge route calibrate` makes "
          "some, [policy.confidence] thresholds names them");
    }
    return std::shared_ptr<const chat::StateProbe>();
  };
}

// How the local model reads a conversation.
upstream::Renderer renderer_of(const engine::Engine& engine) {
  return [&engine](const chat::Request& request) -> std::optional<upstream::Rendered> {
    const bool continues =
        !request.messages.empty() && request.messages.back().role == chat::Role::kAssistant;
    if (request.raw || continues || !request.tools.empty()) return std::nullopt;  // tools are not rendered
    const text::PromptFormat& format = engine.prompt_format();
    const text::Tokenizer& tokenizer = engine.tokenizer();
    auto text = format.render(request.messages, "");
    auto ids = format.encode(tokenizer, request.messages, "");
    if (!text.ok() || !ids.ok()) return std::nullopt;
    upstream::Rendered out;
    out.ids = std::move(ids).value();
    out.add_special = !format.renders_bos();
    // Where a message holds a control token's name, the text would be read as another conversation.
    if (tokenizer.encode(text.value(), {out.add_special, true}) == out.ids)
      out.text = std::move(text).value();
    const std::vector<int32_t>& written = request.assistant_prefix_tokens;
    if (!written.empty() && tokenizer.decode(written, true) == request.assistant_prefix) {
      out.ids_with_start = out.ids;
      out.ids_with_start.insert(out.ids_with_start.end(), written.begin(), written.end());
    } else if (auto whole = format.encode(tokenizer, request.messages, request.assistant_prefix);
               whole.ok()) {
      out.ids_with_start = std::move(whole).value();
    }
    return out;
  };
}

}  // namespace

Result<std::unique_ptr<Stack>> build_stack(const Settings& settings, const std::string& model_path,
                                           const std::string& data_folder) {
  auto stack = std::make_unique<Stack>();
  // What is quick to refuse comes before what is slow to load.
  if (!settings.upstream.base_url.empty()) {
    std::vector<upstream::Options> all = {settings.upstream};
    all.insert(all.end(), settings.more_upstreams.begin(), settings.more_upstreams.end());
    std::vector<upstream::Tier> tiers;
    for (size_t i = 0; i < all.size(); ++i) {
      auto upstream = upstream::OpenAiBackend::create(all[i]);
      if (!upstream.ok()) return located(settings, upstream_section(i), std::move(upstream).error());
      tiers.push_back({std::move(upstream).value(), all[i].hedge_after_ms});
    }
    stack->upstream = upstream::make_tiers(std::move(tiers));
  }
  if (settings.policy.prompt.enabled) {
    auto score = read_prompt_score(settings.policy.prompt.weights);
    if (!score.ok()) return wrong_value(settings, "policy.prompt", "weights", score.error().detail);
    stack->prompt_score = std::make_unique<route::PromptScore>(std::move(score).value());
  }
  HEDGE_TRY_SET(stack->store, session::Store::open(store_address(settings, data_folder)));
  stack->learned = std::make_unique<LearnedFile>(data_folder + "/" + kLearnedFile);
  HEDGE_TRY(stack->learned->load());
  engine::Options engine_options = settings.engine;
  Judge judge;
  const route::Confidence& confidence = settings.policy.confidence;
  // Where nothing goes upstream nobody asks.
  if (stack->upstream && !settings.policy.offline && confidence.enabled)
    engine_options.probe = judge_loader(settings, judge);
  auto engine = engine::Engine::load(model_path, engine_options);
  if (!engine.ok()) return located(settings, "model", std::move(engine).error());
  stack->engine = std::move(engine).value();
  if (stack->upstream) stack->upstream->set_renderer(renderer_of(*stack->engine));
  route::Environment environment =
      make_environment(settings.policy, stack->learned.get(), stack->prompt_score.get());
  environment.thresholds = std::move(judge.thresholds);
  stack->router = route::Router::create(*stack->engine, stack->upstream.get(), settings.policy,
                                        std::move(environment), stack->prompt_score.get());
  HEDGE_TRY(restore_budget(*stack->store, *stack->router));
  stack->recorder = session::make_recorder(*stack->router, *stack->store);
  return stack;
}

}  // namespace hedge::cli
