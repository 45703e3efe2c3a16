#include "cli/config/policy_toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <span>
#include <vector>

#include "cli/names.h"

namespace hedge::cli {
namespace {

using route::Condition;
using route::ConditionForm;
using route::ConditionKind;
using route::When;

constexpr double kNumberMax = 1e12;  // of a condition: tokens, percent, degrees
constexpr double kMoneyMax = 1e9;
constexpr size_t kTextBytesMax = 256;

// Says where it stands while it reads: "hedge.toml:12: rule 'factory night': ".
class Place {
 public:
  Place(std::string_view where, std::string what) : where_(where), what_(std::move(what)) {}

  Error at(const toml::source_region& source, const std::string& text) const {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}:{}: {}: {}", where_, source.begin.line, what_, text));
  }
  Error at(const toml::node& node, const std::string& text) const { return at(node.source(), text); }
  Error wrong_type(std::string_view key, std::string_view expected, const toml::node& node) const {
    return at(node, fmt::format("'{}' must be {}, got {}", key, expected, toml_type_name(node.type())));
  }
  Error unknown(const toml::key& key, const std::vector<std::string>& known) const {
    const std::string name(key.str());
    const std::string near = nearest(name, known);
    return at(key.source(), near.empty()
                                ? fmt::format("unknown key '{}'; known are {}", name, fmt::join(known, ", "))
                                : fmt::format("unknown key '{}'; did you mean '{}'?", name, near));
  }

  Result<std::string> text(std::string_view key, const toml::node& node) const {
    const toml::value<std::string>* value = node.as_string();
    if (value == nullptr) return wrong_type(key, "a string", node);
    if (value->get().size() > kTextBytesMax)
      return at(node, fmt::format("'{}' must be at most {} bytes, got {}", key, kTextBytesMax,
                                  value->get().size()));
    return value->get();
  }

  Result<double> number(std::string_view key, const toml::node& node, double min, double max) const {
    const std::optional<double> value = node.is_number() ? node.value<double>() : std::nullopt;
    if (!value) return wrong_type(key, "a number", node);
    if (!(*value >= min && *value <= max))
      return at(node, fmt::format("'{}' must be {:.15g} to {:.15g}, got {:.15g}", key, min, max, *value));
    return *value;
  }

  Result<route::Strategy> strategy(const toml::node& node) const {
    HEDGE_TRY_SET(const std::string name, text("use", node));
    if (const auto found = route::parse_strategy(name)) return *found;
    const std::vector<std::string> known = route::strategy_names();
    const std::string near = nearest(name, known);
    return at(node, fmt::format("'use': expected {}, got \"{}\"{}", fmt::join(known, ", "), name,
                                near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
  }

 private:
  const std::string_view where_;
  const std::string what_;
};

class WhenReader {
 public:
  explicit WhenReader(const Place& place) : place_(place) {}

  // A table: one condition by its key; of several, all must hold.
  Result<When> read(std::string_view key, const toml::node& node, int depth) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return place_.wrong_type(key, "a table like {network=\"metered\"}", node);
    if (depth > route::kWhenDepthMax)
      return place_.at(node, fmt::format("conditions nest at most {} deep", route::kWhenDepthMax));
    if (table->empty())
      return place_.at(node, fmt::format("'{}' is empty; to match every request leave 'when' out", key));
    When all;
    for (const auto& [name, value] : *table) {
      HEDGE_TRY_SET(When part, read_condition(name, value, depth));
      all.parts.push_back(std::move(part));
    }
    if (all.parts.size() == 1) {
      When only = std::move(all.parts.front());
      return only;
    }
    return all;
  }

 private:
  Result<When> read_condition(const toml::key& key, const toml::node& node, int depth) {
    const auto kinds = route::condition_kinds();
    const auto kind =
        std::find_if(kinds.begin(), kinds.end(), [&](const ConditionKind& k) { return key.str() == k.key; });
    if (kind == kinds.end()) {
      std::vector<std::string> known;
      for (const ConditionKind& k : kinds) known.emplace_back(k.key);
      return place_.unknown(key, known);
    }
    When when;
    when.condition = kind->condition;
    switch (kind->form) {
      case ConditionForm::kParts:
        HEDGE_TRY(read_parts(kind->key, node, depth, when));
        break;
      case ConditionForm::kPart: {
        HEDGE_TRY_SET(When part, read(kind->key, node, depth + 1));
        when.parts.push_back(std::move(part));
        break;
      }
      case ConditionForm::kTexts:
        HEDGE_TRY(read_texts(*kind, node, when.texts));
        if (const Status known = route::check_texts(when.condition, when.texts); !known.ok())
          return place_.at(node, fmt::format("'{}': {}", kind->key, known.error().detail));
        break;
      case ConditionForm::kTimes: {
        std::vector<std::string> texts;
        HEDGE_TRY(read_texts(*kind, node, texts));
        for (const std::string& text : texts) {
          const auto range = route::parse_time_range(text);
          if (!range.ok()) return place_.at(node, fmt::format("'{}': {}", kind->key, range.error().detail));
          when.times.push_back(*range);
        }
        break;
      }
      case ConditionForm::kFlag: {
        const toml::value<bool>* value = node.as_boolean();
        if (value == nullptr) return place_.wrong_type(kind->key, "true or false", node);
        when.flag = value->get();
        break;
      }
      case ConditionForm::kNumber: {
        HEDGE_TRY_SET(when.number, place_.number(kind->key, node, -kNumberMax, kNumberMax));
        break;
      }
    }
    return when;
  }

  Status read_parts(const char* key, const toml::node& node, int depth, When& when) {
    const toml::array* list = node.as_array();
    if (list == nullptr) return place_.wrong_type(key, "a list of tables", node);
    if (list->empty() || list->size() > route::kWhenPartsMax)
      return place_.at(
          node, fmt::format("'{}' must have 1 to {} parts, got {}", key, route::kWhenPartsMax, list->size()));
    for (const toml::node& item : *list) {
      HEDGE_TRY_SET(When part, read(key, item, depth + 1));
      when.parts.push_back(std::move(part));
    }
    return {};
  }

  Status read_texts(const ConditionKind& kind, const toml::node& node, std::vector<std::string>& out) {
    if (node.is_string()) {
      HEDGE_TRY_SET(std::string text, place_.text(kind.key, node));
      out.push_back(std::move(text));
      return {};
    }
    const toml::array* list = node.as_array();
    if (list == nullptr) return place_.wrong_type(kind.key, "a string or a list of strings", node);
    if (list->empty() || list->size() > route::kWhenPartsMax)
      return place_.at(node, fmt::format("'{}' must have 1 to {} values, got {}", kind.key,
                                         route::kWhenPartsMax, list->size()));
    for (const toml::node& item : *list) {
      HEDGE_TRY_SET(std::string text, place_.text(kind.key, item));
      out.push_back(std::move(text));
    }
    return {};
  }

  const Place& place_;
};

Result<route::Rule> read_rule(std::string_view where, const toml::table& table, size_t number) {
  route::Rule rule;
  const toml::value<std::string>* name = table.get_as<std::string>("name");
  rule.name = name == nullptr ? fmt::format("rule {}", number) : name->get().substr(0, kTextBytesMax);
  const Place place(where, name == nullptr ? rule.name : fmt::format("rule '{}'", rule.name));
  bool has_use = false;
  for (const auto& [key, node] : table) {
    const std::string_view field = key.str();
    if (field == "name") {
      HEDGE_TRY_SET(rule.name, place.text("name", node));
    } else if (field == "when") {
      HEDGE_TRY_SET(rule.when, WhenReader(place).read("when", node, 1));
    } else if (field == "use") {
      HEDGE_TRY_SET(rule.use, place.strategy(node));
      has_use = true;
    } else if (field == "deadline_ms") {
      HEDGE_TRY_SET(rule.deadline_ms, place.number("deadline_ms", node, 1, 3600000));
    } else if (field == "value_per_answer") {
      HEDGE_TRY_SET(rule.value_per_answer, place.number("value_per_answer", node, 0, kMoneyMax));
    } else {
      return place.unknown(key, {"name", "when", "use", "deadline_ms", "value_per_answer"});
    }
  }
  if (!has_use)
    return place.at(table,
                    fmt::format("'use' is missing; expected {}", fmt::join(route::strategy_names(), ", ")));
  return rule;
}

std::string texts_text(const std::vector<std::string>& texts) {
  if (texts.size() == 1) return toml_quoted(texts.front());
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(toml_quoted(text));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

std::string when_text(const When& when) {
  const ConditionKind& kind = route::condition_kinds()[static_cast<size_t>(when.condition)];
  std::vector<std::string> values;
  switch (kind.form) {
    case ConditionForm::kParts:
      for (const When& part : when.parts) values.push_back(when_text(part));
      return fmt::format("{{{} = [{}]}}", kind.key, fmt::join(values, ", "));
    case ConditionForm::kPart:
      return fmt::format("{{{} = {}}}", kind.key, when_text(when.parts.front()));
    case ConditionForm::kTexts:
      return fmt::format("{{{} = {}}}", kind.key, texts_text(when.texts));
    case ConditionForm::kTimes:
      for (const route::TimeRange& range : when.times)
        values.push_back(fmt::format("{:02}:{:02}-{:02}:{:02}", range.from_minute / 60,
                                     range.from_minute % 60, range.to_minute / 60, range.to_minute % 60));
      return fmt::format("{{{} = {}}}", kind.key, texts_text(values));
    case ConditionForm::kFlag:
      return fmt::format("{{{} = {}}}", kind.key, when.flag);
    case ConditionForm::kNumber:
      return fmt::format("{{{} = {}}}", kind.key, when.number);
  }
  return {};
}

// Words by keys; `check` says which may stand there.
template <size_t kCount>
Status read_words(const Place& place, const toml::table& table, const std::string_view (&keys)[kCount],
                  Status (*check)(std::string_view), std::array<std::string, kCount>& out) {
  for (const auto& [key, node] : table) {
    if (node.is_table()) continue;
    const auto found = std::find(std::begin(keys), std::end(keys), key.str());
    if (found == std::end(keys))
      return place.unknown(key, std::vector<std::string>(std::begin(keys), std::end(keys)));
    HEDGE_TRY_SET(std::string word, place.text(*found, node));
    if (const Status valid = check(word); !valid.ok())
      return place.at(node, fmt::format("'{}': {}", *found, valid.error().detail));
    out[static_cast<size_t>(found - std::begin(keys))] = std::move(word);
  }
  return {};
}

// [tenants.NAME.privacy] and its [fields].
Status read_classes(std::string_view where, const std::string& tenant, const toml::node& node,
                    privacy::Classes& out) {
  const Place place(where, fmt::format("[tenants.{}.privacy]", tenant));
  const toml::table* table = node.as_table();
  if (table == nullptr)
    return place.at(node, fmt::format("expected a table, got {}", toml_type_name(node.type())));
  for (const auto& [key, inner] : *table) {
    if (!inner.is_table()) continue;
    const Place fields(where, fmt::format("[tenants.{}.privacy.fields]", tenant));
    if (key.str() != "fields") return place.unknown(key, {"fields"});
    HEDGE_TRY(
        read_words(fields, *inner.as_table(), privacy::kFieldKeys, privacy::check_field_word, out.fields));
  }
  return read_words(place, *table, privacy::kClassKeys, privacy::check_type_word, out.types);
}

std::string words_text(std::span<const std::string_view> keys, std::span<const std::string> words) {
  std::string out;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!words[i].empty()) out += fmt::format("{} = \"{}\"\n", keys[i], words[i]);
  }
  return out;
}

bool valid_tenant_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

Status read_tenant(std::string_view where, const toml::key& name, const toml::node& node,
                   Settings& settings) {
  route::Tenant tenant;
  TenantKey key;
  tenant.name = key.name = std::string(name.str());
  const Place place(where, fmt::format("[tenants.{}]", tenant.name.substr(0, 64)));
  if (!valid_tenant_name(tenant.name))
    return place.at(name.source(), "expected a name of 1 to 64 letters, digits, '_', '-' or '.'");
  const toml::table* table = node.as_table();
  if (table == nullptr)
    return place.at(node, fmt::format("expected a table, got {}", toml_type_name(node.type())));
  key.place = fmt::format("{}:{}: [tenants.{}]", where, name.source().begin.line, tenant.name);
  for (const auto& [field, value] : *table) {
    if (field.str() == "key_env") {
      HEDGE_TRY_SET(key.key_env, place.text("key_env", value));
    } else if (field.str() == "key_file") {
      HEDGE_TRY_SET(key.key_file, place.text("key_file", value));
    } else if (field.str() == "upstream_tokens_per_day") {
      HEDGE_TRY_SET(const double tokens, place.number("upstream_tokens_per_day", value, 0, 9e15));
      tenant.upstream_tokens_per_day = static_cast<int64_t>(tokens);
    } else if (field.str() == "upstream_money_per_day") {
      HEDGE_TRY_SET(tenant.upstream_money_per_day,
                    place.number("upstream_money_per_day", value, 0, kMoneyMax));
    } else if (field.str() == "use") {
      HEDGE_TRY_SET(tenant.use, place.strategy(value));
    } else if (field.str() == "privacy") {
      HEDGE_TRY(read_classes(where, tenant.name, value, tenant.privacy));
    } else {
      return place.unknown(field, {"key_env", "key_file", "upstream_tokens_per_day", "upstream_money_per_day",
                                   "use", "privacy"});
    }
  }
  if (key.key_env.empty() == key.key_file.empty())
    return place.at(name.source(),
                    "expected either 'key_env' or 'key_file', where the tenant's API key is found");
  settings.policy.tenants.push_back(std::move(tenant));
  settings.tenant_keys.push_back(std::move(key));
  return {};
}

}  // namespace

Status read_rules(std::string_view where, const toml::node& node, Settings& settings) {
  const toml::array* list = node.as_array();
  const Place place(where, "[[policy.rules]]");
  if (list == nullptr) return place.wrong_type("policy.rules", "a list of tables, [[policy.rules]]", node);
  if (list->size() > route::kRulesMax)
    return place.at(node, fmt::format("expected at most {} rules, got {}", route::kRulesMax, list->size()));
  for (const toml::node& item : *list) {
    const toml::table* table = item.as_table();
    if (table == nullptr) return place.wrong_type("policy.rules", "a list of tables, [[policy.rules]]", item);
    HEDGE_TRY_SET(route::Rule rule, read_rule(where, *table, settings.policy.rules.size() + 1));
    settings.policy.rules.push_back(std::move(rule));
  }
  return {};
}

Status read_tenants(std::string_view where, const toml::node& node, Settings& settings) {
  const toml::table* table = node.as_table();
  const Place place(where, "[tenants]");
  if (table == nullptr) return place.wrong_type("tenants", "tables, [tenants.NAME]", node);
  if (table->size() > route::kTenantsMax)
    return place.at(node,
                    fmt::format("expected at most {} tenants, got {}", route::kTenantsMax, table->size()));
  for (const auto& [name, tenant] : *table) HEDGE_TRY(read_tenant(where, name, tenant, settings));
  return {};
}

std::string toml_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string rules_text(const Settings& settings) {
  std::string out;
  for (const route::Rule& rule : settings.policy.rules) {
    out += fmt::format("\n[[policy.rules]]\nname = {}\n", toml_quoted(rule.name));
    const bool always = rule.when.condition == Condition::kAll && rule.when.parts.empty();
    if (!always) out += fmt::format("when = {}\n", when_text(rule.when));
    out += fmt::format("use = \"{}\"\n", route::to_string(rule.use));
    if (rule.deadline_ms) out += fmt::format("deadline_ms = {}\n", *rule.deadline_ms);
    if (rule.value_per_answer) out += fmt::format("value_per_answer = {}\n", *rule.value_per_answer);
  }
  return out;
}

std::string tenants_text(const Settings& settings) {
  std::string out;
  for (size_t i = 0; i < settings.policy.tenants.size(); ++i) {
    const route::Tenant& tenant = settings.policy.tenants[i];
    const TenantKey& key = settings.tenant_keys[i];
    out += fmt::format("\n[tenants.{}]\n", toml_quoted(tenant.name));
    if (!key.key_env.empty()) out += fmt::format("key_env = {}\n", toml_quoted(key.key_env));
    if (!key.key_file.empty()) out += fmt::format("key_file = {}\n", toml_quoted(key.key_file));
    if (tenant.upstream_tokens_per_day > 0)
      out += fmt::format("upstream_tokens_per_day = {}\n", tenant.upstream_tokens_per_day);
    if (tenant.upstream_money_per_day > 0)
      out += fmt::format("upstream_money_per_day = {}\n", tenant.upstream_money_per_day);
    if (tenant.use) out += fmt::format("use = \"{}\"\n", route::to_string(*tenant.use));
    if (const std::string words = words_text(privacy::kClassKeys, tenant.privacy.types); !words.empty())
      out += fmt::format("[tenants.{}.privacy]\n{}", toml_quoted(tenant.name), words);
    if (const std::string words = words_text(privacy::kFieldKeys, tenant.privacy.fields); !words.empty())
      out += fmt::format("[tenants.{}.privacy.fields]\n{}", toml_quoted(tenant.name), words);
  }
  return out;
}

const char* toml_type_name(toml::node_type type) {
  switch (type) {
    case toml::node_type::none:
      return "nothing";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "a boolean";
    case toml::node_type::date:
      return "a date";
    case toml::node_type::time:
      return "a time";
    case toml::node_type::date_time:
      return "a date and time";
  }
  return "something else";
}

}  // namespace hedge::cli
