// The rules of a policy: an ordered list of conditions over plain facts; the first that holds names the
// strategy. Pure; evaluating allocates nothing.
//
// A fact that nobody knows (no sensor, no network information) makes a condition over it neither true nor
// false (Kleene's three-valued logic), under `not` too; a rule applies only where its condition is surely
// true.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "privacy/finding.h"

namespace hedge::route {

enum class Strategy : uint8_t {
#define HEDGE_STRATEGY(enumerator, name, help) enumerator,
#include "route/strategy_list.inc"
#undef HEDGE_STRATEGY
};
std::string_view to_string(Strategy strategy);
std::optional<Strategy> parse_strategy(std::string_view name);
std::vector<std::string> strategy_names();

enum class Condition : uint8_t {
#define HEDGE_CONDITION(enumerator, key, form, help) enumerator,
#include "route/condition_list.inc"
#undef HEDGE_CONDITION
};

enum class ConditionForm : uint8_t { kParts, kPart, kTexts, kFlag, kNumber, kTimes };

struct ConditionKind {
  Condition condition;
  const char* key;
  ConditionForm form;
  const char* help;
};
std::span<const ConditionKind> condition_kinds();

// What the privacy gate says about the texts of a request.
using Privacy = privacy::Outcome;

enum class Network : uint8_t { kOffline, kMetered, kUnmetered };
std::string_view to_string(Network network);

// What the device says of itself; nothing: not known.
struct DeviceFacts {
  int minute_of_day = 0;  // local time, 0..1439
  int weekday = 0;        // local, 0 is Monday
  std::optional<Network> network;
  std::optional<bool> on_battery;
  std::optional<double> battery_percent;
  std::optional<double> temperature_c;  // of the hottest zone
};

// The texts live as long as the request and the device facts.
struct RuleFacts {
  std::string_view model;
  std::string_view tenant;
  std::span<const std::string> tags;
  bool tools = false;
  double prompt_tokens = 0;  // estimated
  Privacy privacy = Privacy::kClean;
  bool private_session = false;
  DeviceFacts device;
};

struct TimeRange {
  int from_minute = 0;  // of the day
  int to_minute = 0;    // not in it; before from_minute: past midnight
};

// A condition as it was written. Which of the fields counts is the form's matter.
struct When {
  Condition condition = Condition::kAll;
  std::vector<When> parts;  // of kNot: one
  std::vector<std::string> texts;
  std::vector<TimeRange> times;
  double number = 0;
  bool flag = false;
};

inline constexpr int kWhenDepthMax = 16;
inline constexpr size_t kWhenPartsMax = 256;  // of one list, and texts of one condition
inline constexpr size_t kRulesMax = 256;

struct Rule {
  std::string name;
  When when;
  Strategy use = Strategy::kLocalOnly;
  // Nothing: the policy's own.
  std::optional<double> deadline_ms;
  std::optional<double> value_per_answer;
};

enum class Truth : uint8_t { kNo, kUnknown, kYes };
Truth evaluate(const When& when, const RuleFacts& facts);

// The first rule whose condition is surely true; null when there is none.
const Rule* find_rule(std::span<const Rule> rules, const RuleFacts& facts);

// Whether some rule asks for this tag, whatever else it asks for.
bool asks_for_tag(std::span<const Rule> rules, std::string_view tag);

// '*' in `pattern` stands for any characters, none too. Linear in the product of the lengths.
bool matches_pattern(std::string_view pattern, std::string_view text);

// "22:00-06:00". The error says what is right.
Result<TimeRange> parse_time_range(std::string_view text);
// Whether the texts of a condition that knows only some are among these; the error lists them.
Status check_texts(Condition condition, std::span<const std::string> texts);

}  // namespace hedge::route
