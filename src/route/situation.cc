#include "route/situation.h"

#include "route/learned.h"

#include <algorithm>

namespace hedge::route {
namespace {

size_t text_bytes(const chat::Request& request) {
  size_t bytes = request.prompt.size() + request.assistant_prefix.size() + request.tools.size();
  for (const chat::Message& message : request.messages) {
    bytes += message.content.size() + message.name.size();
    for (const chat::ToolCall& call : message.tool_calls) bytes += call.name.size() + call.arguments.size();
  }
  return bytes;
}

bool has_role(const chat::Request& request, chat::Role role) {
  return std::any_of(request.messages.begin(), request.messages.end(),
                     [&](const chat::Message& message) { return message.role == role; });
}

// Writes facts under stable names.
class Writer {
 public:
  void number(const char* name, double value) { facts_.push_back({name, {}, value, false}); }
  void number(const char* name, const std::optional<double>& value) {
    if (value) number(name, *value);
  }
  void text(const char* name, std::string_view value) {
    facts_.push_back({name, std::string(value), 0, true});
  }
  std::vector<chat::Fact> take() { return std::move(facts_); }

 private:
  std::vector<chat::Fact> facts_;
};

class FactReader {
 public:
  explicit FactReader(const std::vector<chat::Fact>& facts) : facts_(facts) {}

  const chat::Fact* find(std::string_view name) const {
    const auto found =
        std::find_if(facts_.begin(), facts_.end(), [&](const chat::Fact& f) { return f.name == name; });
    return found == facts_.end() ? nullptr : &*found;
  }
  void number(std::string_view name, double& out) const {
    if (const chat::Fact* fact = find(name); fact != nullptr && !fact->is_text) out = fact->number;
  }
  // Whole numbers of a stated range; others are held to it.
  template <typename Integer>
  void integer(std::string_view name, Integer& out, double min, double max) const {
    const chat::Fact* fact = find(name);
    if (fact == nullptr || fact->is_text || !(fact->number == fact->number)) return;
    out = static_cast<Integer>(std::clamp(fact->number, min, max));
  }
  void flag(std::string_view name, bool& out) const {
    double value = out ? 1 : 0;
    number(name, value);
    out = value != 0;
  }
  std::optional<double> optional(std::string_view name) const {
    const chat::Fact* fact = find(name);
    return fact == nullptr || fact->is_text ? std::nullopt : std::optional(fact->number);
  }
  std::string text(std::string_view name) const {
    const chat::Fact* fact = find(name);
    return fact == nullptr ? std::string() : fact->text;
  }

 private:
  const std::vector<chat::Fact>& facts_;
};

constexpr double kCountMax = 1e9;

}  // namespace

Situation situation_of(const chat::Request& request, Privacy privacy) {
  Situation out;
  out.facts.private_session = out.rule.private_session = request.routing.private_session;
  out.facts.privacy = out.rule.privacy = privacy;
  out.facts.asked = request.routing.route;
  out.facts.upstream_can_read = request.prompt_tokens.empty();
  out.facts.hops_left = request.way.hops_left > 0;
  out.rule.model = request.model;
  out.rule.tenant = request.routing.tenant;
  out.rule.tags = request.routing.tags;
  out.facts.needs_tools = !request.tools.empty() && request.tool_choice != R"("none")";
  out.facts.bound_by_state = request.routing.bound_by_state;
  out.rule.tools = has_role(request, chat::Role::kTool) || !request.tools.empty();
  out.rule.prompt_tokens = request.prompt_tokens.empty()
                               ? estimated_tokens(static_cast<double>(text_bytes(request)))
                               : static_cast<double>(request.prompt_tokens.size());
  out.load.prompt_tokens = out.rule.prompt_tokens;
  out.load.answer_tokens_max = request.max_tokens;
  out.conversation_begun = has_role(request, chat::Role::kAssistant);
  out.kind = kind_of(request);
  out.forced = request.routing.escalate_after.has_value();
  return out;
}

std::vector<chat::Fact> facts_of(const Situation& s) {
  Writer out;
  out.text("model", s.rule.model);
  out.text("tenant", s.rule.tenant);
  std::string tags;
  for (const std::string& tag : s.rule.tags) tags += (tags.empty() ? "" : ",") + tag;
  out.text("tags", tags);
  out.number("tools", s.rule.tools ? 1 : 0);
  out.number("prompt_tokens", s.rule.prompt_tokens);
  out.number("answer_tokens_max", s.load.answer_tokens_max);
  out.number("privacy", static_cast<double>(s.facts.privacy));
  out.number("private_session", s.facts.private_session ? 1 : 0);
  out.number("asked", static_cast<double>(s.facts.asked));
  out.number("forced", s.forced ? 1 : 0);
  out.number("conversation_begun", s.conversation_begun ? 1 : 0);
  out.number("has_upstream", s.facts.has_upstream ? 1 : 0);
  out.number("upstream_available", s.facts.upstream_available ? 1 : 0);
  out.number("upstream_can_read", s.facts.upstream_can_read ? 1 : 0);
  out.number("bound", static_cast<double>(s.facts.bound));
  out.number("bound_by_state", s.facts.bound_by_state ? 1 : 0);
  out.number("needs_tools", s.facts.needs_tools ? 1 : 0);
  out.number("minute_of_day", s.rule.device.minute_of_day);
  out.number("weekday", s.rule.device.weekday);
  if (s.rule.device.network) out.number("network", static_cast<double>(*s.rule.device.network));
  if (s.rule.device.on_battery) out.number("on_battery", *s.rule.device.on_battery ? 1 : 0);
  out.number("battery_percent", s.rule.device.battery_percent);
  out.number("temperature_c", s.rule.device.temperature_c);
  out.number("gain", s.gain.value);
  out.text("gain_source", s.gain.source);
  out.text(kKindFact, kind_name(s.kind));
  out.number("bias", s.bias);
  out.number("local_prefill_tps", s.speeds.local_prefill_tps);
  out.number("local_decode_tps", s.speeds.local_decode_tps);
  out.number("upstream_first_ms", s.speeds.upstream_first_ms);
  out.number("upstream_decode_tps", s.speeds.upstream_decode_tps);
  out.number("mean_answer_tokens", s.speeds.answer_tokens);
  out.number("active", s.load.active);
  out.number("queued", s.load.queued);
  return out.take();
}

bool read_facts(const std::vector<chat::Fact>& facts, RecordedSituation& out) {
  if (facts.empty()) return false;
  const FactReader in(facts);
  Situation& s = out.situation;
  out.model = in.text("model");
  out.tenant = in.text("tenant");
  out.gain_source = in.text("gain_source");
  const std::string tags = in.text("tags");
  for (size_t begin = 0; begin < tags.size();) {
    const size_t end = std::min(tags.find(',', begin), tags.size());
    out.tags.push_back(tags.substr(begin, end - begin));
    begin = end + 1;
  }
  s.rule.model = out.model;
  s.rule.tenant = out.tenant;
  s.rule.tags = out.tags;
  in.flag("tools", s.rule.tools);
  in.number("prompt_tokens", s.rule.prompt_tokens);
  s.load.prompt_tokens = s.rule.prompt_tokens;
  in.integer("answer_tokens_max", s.load.answer_tokens_max, -1, kCountMax);
  constexpr int kOutcomes = static_cast<int>(Privacy::kMasked) + 1;
  int outcome = 0;
  in.integer("privacy", outcome, 0, kOutcomes);
  s.facts.privacy = outcome < kOutcomes ? static_cast<Privacy>(outcome) : Privacy::kUnjudged;
  s.rule.privacy = s.facts.privacy;
  in.flag("private_session", s.facts.private_session);
  s.rule.private_session = s.facts.private_session;
  in.integer("asked", s.facts.asked, 0, static_cast<double>(chat::Route::kUpstream));
  in.flag("forced", s.forced);
  in.flag("conversation_begun", s.conversation_begun);
  in.flag("has_upstream", s.facts.has_upstream);
  in.flag("upstream_available", s.facts.upstream_available);
  in.flag("upstream_can_read", s.facts.upstream_can_read);
  in.integer("bound", s.facts.bound, 0, static_cast<double>(Bound::kUpstream));
  in.flag("bound_by_state", s.facts.bound_by_state);
  in.flag("needs_tools", s.facts.needs_tools);
  DeviceFacts& device = s.rule.device;
  in.integer("minute_of_day", device.minute_of_day, 0, 1439);
  in.integer("weekday", device.weekday, 0, 6);
  if (in.find("network") != nullptr) {
    Network network = Network::kOffline;
    in.integer("network", network, 0, static_cast<double>(Network::kUnmetered));
    device.network = network;
  }
  if (const auto on_battery = in.optional("on_battery")) device.on_battery = *on_battery != 0;
  device.battery_percent = in.optional("battery_percent");
  device.temperature_c = in.optional("temperature_c");
  in.number("gain", s.gain.value);
  s.gain.source = out.gain_source;
  s.kind = kind_named(in.text(kKindFact)).value_or(0);
  in.number("bias", s.bias);
  in.number("local_prefill_tps", s.speeds.local_prefill_tps);
  in.number("local_decode_tps", s.speeds.local_decode_tps);
  in.number("upstream_first_ms", s.speeds.upstream_first_ms);
  in.number("upstream_decode_tps", s.speeds.upstream_decode_tps);
  in.number("mean_answer_tokens", s.speeds.answer_tokens);
  in.integer("active", s.load.active, 0, kCountMax);
  in.integer("queued", s.load.queued, 0, kCountMax);
  return true;
}

}  // namespace hedge::route
