#include "route/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace hedge::route {
namespace {

constexpr ConditionKind kConditions[] = {
#define HEDGE_CONDITION(enumerator, key, form, help) {Condition::enumerator, key, ConditionForm::form, help},
#include "route/condition_list.inc"
#undef HEDGE_CONDITION
};

struct StrategyName {
  Strategy strategy;
  std::string_view name;
};
constexpr StrategyName kStrategies[] = {
#define HEDGE_STRATEGY(enumerator, name, help) {Strategy::enumerator, name},
#include "route/strategy_list.inc"
#undef HEDGE_STRATEGY
};

constexpr std::array<std::string_view, 7> kDays = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr std::array<std::string_view, 3> kNetworks = {"offline", "metered", "unmetered"};
constexpr std::array<std::string_view, 2> kPowers = {"battery", "mains"};
constexpr std::array<std::string_view, 5> kPrivacies = {"clean", "masked", "personal", "unjudged", "private"};

constexpr int kMinutesPerHour = 60;
constexpr int kMinutesPerDay = 24 * kMinutesPerHour;

Truth truth(bool value) { return value ? Truth::kYes : Truth::kNo; }

Truth negated(Truth value) {
  switch (value) {
    case Truth::kNo:
      return Truth::kYes;
    case Truth::kUnknown:
      return Truth::kUnknown;
    case Truth::kYes:
      return Truth::kNo;
  }
  return Truth::kUnknown;
}

bool holds(const std::vector<std::string>& texts, std::string_view name) {
  return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) { return text == name; });
}

bool any_matches(const std::vector<std::string>& patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return matches_pattern(pattern, text); });
}

bool names_tag(const When& when, std::string_view tag) {
  return (when.condition == Condition::kTag && any_matches(when.texts, tag)) ||
         std::any_of(when.parts.begin(), when.parts.end(),
                     [&](const When& part) { return names_tag(part, tag); });
}

bool in_range(const TimeRange& range, int minute) {
  return range.from_minute <= range.to_minute ? minute >= range.from_minute && minute < range.to_minute
                                              : minute >= range.from_minute || minute < range.to_minute;
}

bool has_privacy(const std::vector<std::string>& texts, const RuleFacts& facts) {
  if (facts.private_session && holds(texts, "private")) return true;
  switch (facts.privacy) {
    case Privacy::kClean:
      return !facts.private_session && holds(texts, "clean");
    case Privacy::kFound:
      return holds(texts, "personal");
    case Privacy::kUnjudged:
      return holds(texts, "unjudged");
    case Privacy::kMasked:
      return holds(texts, "masked");
  }
  return false;
}

Truth evaluate_parts(const When& when, const RuleFacts& facts) {
  // All: the least of the parts; any: the greatest.
  const bool all = when.condition == Condition::kAll;
  Truth result = all ? Truth::kYes : Truth::kNo;
  for (const When& part : when.parts) {
    const Truth value = evaluate(part, facts);
    result = all ? std::min(result, value) : std::max(result, value);
  }
  return result;
}

std::span<const std::string_view> allowed_texts(Condition condition) {
  switch (condition) {
    case Condition::kDay:
      return kDays;
    case Condition::kNetwork:
      return kNetworks;
    case Condition::kPower:
      return kPowers;
    case Condition::kPrivacy:
      return kPrivacies;
    case Condition::kAll:
    case Condition::kAny:
    case Condition::kNot:
    case Condition::kModel:
    case Condition::kTenant:
    case Condition::kTag:
    case Condition::kTools:
    case Condition::kTokensAbove:
    case Condition::kTokensBelow:
    case Condition::kTime:
    case Condition::kBatteryBelow:
    case Condition::kTemperatureAbove:
      return {};
  }
  return {};
}

// "HH:MM" as minutes of the day; 24:00 is the end of it. -1: something else.
int parse_minute(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.size() != 5 || text[2] != ':' || !digit(text[0]) || !digit(text[1]) || !digit(text[3]) ||
      !digit(text[4])) {
    return -1;
  }
  const int hour = (text[0] - '0') * 10 + (text[1] - '0');
  const int minute = (text[3] - '0') * 10 + (text[4] - '0');
  const int sum = hour * kMinutesPerHour + minute;
  return minute < kMinutesPerHour && sum <= kMinutesPerDay ? sum : -1;
}

}  // namespace

std::string_view to_string(Strategy strategy) { return kStrategies[static_cast<size_t>(strategy)].name; }

std::optional<Strategy> parse_strategy(std::string_view name) {
  for (const StrategyName& known : kStrategies) {
    if (known.name == name) return known.strategy;
  }
  return std::nullopt;
}

std::vector<std::string> strategy_names() {
  std::vector<std::string> names;
  for (const StrategyName& known : kStrategies) names.emplace_back(known.name);
  return names;
}

std::span<const ConditionKind> condition_kinds() { return kConditions; }

std::string_view to_string(Network network) { return kNetworks[static_cast<size_t>(network)]; }

Truth evaluate(const When& when, const RuleFacts& facts) {
  const DeviceFacts& device = facts.device;
  switch (when.condition) {
    case Condition::kAll:
    case Condition::kAny:
      return evaluate_parts(when, facts);
    case Condition::kNot:
      return when.parts.empty() ? Truth::kUnknown : negated(evaluate(when.parts.front(), facts));
    case Condition::kModel:
      return truth(any_matches(when.texts, facts.model));
    case Condition::kTenant:
      return truth(holds(when.texts, facts.tenant));
    case Condition::kTag:
      return truth(std::any_of(facts.tags.begin(), facts.tags.end(),
                               [&](const std::string& tag) { return any_matches(when.texts, tag); }));
    case Condition::kTools:
      return truth(facts.tools == when.flag);
    case Condition::kTokensAbove:
      return truth(facts.prompt_tokens > when.number);
    case Condition::kTokensBelow:
      return truth(facts.prompt_tokens < when.number);
    case Condition::kTime:
      return truth(std::any_of(when.times.begin(), when.times.end(), [&](const TimeRange& range) {
        return in_range(range, device.minute_of_day);
      }));
    case Condition::kDay:
      return truth(device.weekday >= 0 && device.weekday < static_cast<int>(kDays.size()) &&
                   holds(when.texts, kDays[static_cast<size_t>(device.weekday)]));
    case Condition::kNetwork:
      return device.network ? truth(holds(when.texts, to_string(*device.network))) : Truth::kUnknown;
    case Condition::kPower:
      return device.on_battery ? truth(holds(when.texts, kPowers[*device.on_battery ? 0 : 1]))
                               : Truth::kUnknown;
    case Condition::kBatteryBelow:
      return device.battery_percent ? truth(*device.battery_percent < when.number) : Truth::kUnknown;
    case Condition::kTemperatureAbove:
      return device.temperature_c ? truth(*device.temperature_c > when.number) : Truth::kUnknown;
    case Condition::kPrivacy:
      return truth(has_privacy(when.texts, facts));
  }
  return Truth::kUnknown;
}

const Rule* find_rule(std::span<const Rule> rules, const RuleFacts& facts) {
  for (const Rule& rule : rules) {
    if (evaluate(rule.when, facts) == Truth::kYes) return &rule;
  }
  return nullptr;
}

bool asks_for_tag(std::span<const Rule> rules, std::string_view tag) {
  return std::any_of(rules.begin(), rules.end(), [&](const Rule& rule) { return names_tag(rule.when, tag); });
}

// Greedy with one point of return: the last '*' takes one character more whenever the rest does not fit.
bool matches_pattern(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Result<TimeRange> parse_time_range(std::string_view text) {
  const size_t dash = text.find('-');
  TimeRange range;
  if (dash != std::string_view::npos) {
    range.from_minute = parse_minute(text.substr(0, dash));
    range.to_minute = parse_minute(text.substr(dash + 1));
  }
  if (dash == std::string_view::npos || range.from_minute < 0 || range.to_minute < 0) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("expected two times of day like \"22:00-06:00\", got \"{}\"", text.substr(0, 40)));
  }
  if (range.from_minute == range.to_minute) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("expected two different times, got \"{}\"; the whole day is "
                                  "\"00:00-24:00\"",
                                  text));
  }
  return range;
}

Status check_texts(Condition condition, std::span<const std::string> texts) {
  const std::span<const std::string_view> allowed = allowed_texts(condition);
  if (allowed.empty()) return {};
  for (const std::string& text : texts) {
    if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("expected {}, got \"{}\"", fmt::join(allowed, ", "), text.substr(0, 40)));
    }
  }
  return {};
}

}  // namespace hedge::route
