#include "cli/config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "cli/config/policy_toml.h"
#include "cli/names.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

constexpr size_t kConfigBytesMax = 1u << 20;  // written by hand

constexpr ConfigKey kKeys[] = {
#define HEDGE_CONFIG_SECTION(section, help)
#define HEDGE_CONFIG_KEY(section, name, member, min, max, help) \
  {section, name, [](Settings& s) -> Field { return &s.member; }, min, max, help},
#include "cli/config/key_list.inc"
#undef HEDGE_CONFIG_KEY
#undef HEDGE_CONFIG_SECTION
};

constexpr ConfigSection kSections[] = {
#define HEDGE_CONFIG_SECTION(section, help) {section, help},
#define HEDGE_CONFIG_KEY(section, name, member, min, max, help)
#include "cli/config/key_list.inc"
#undef HEDGE_CONFIG_KEY
#undef HEDGE_CONFIG_SECTION
};

constexpr size_t kUpstreamsMax = 8;

std::string full_name(const ConfigKey& key) { return fmt::format("{}.{}", key.section, key.name); }

// One pass over a parsed file.
class Reader {
 public:
  Reader(std::string_view where, Settings& settings) : where_(where), settings_(settings) {}

  Status read_table(const std::string& section, const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      const std::string inner = section.empty() ? name : section + "." + name;
      if (inner == "policy.rules") {
        HEDGE_TRY(read_rules(where_, node, settings_));
      } else if (inner == "tenants") {
        HEDGE_TRY(read_tenants(where_, node, settings_));
      } else if (is_section(inner)) {
        HEDGE_TRY(read_section(inner, node));
      } else if (const ConfigKey* known = find_key(section, name)) {
        HEDGE_TRY(read_value(*known, node));
      } else {
        return unknown(section, key);
      }
    }
    return {};
  }

 private:
  static bool is_section(const std::string& name) {
    return std::any_of(std::begin(kSections), std::end(kSections),
                       [&](const ConfigSection& s) { return name == s.name; });
  }

  static const ConfigKey* find_key(const std::string& section, const std::string& name) {
    const auto found = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const ConfigKey& k) {
      return section == k.section && name == k.name;
    });
    return found == std::end(kKeys) ? nullptr : found;
  }

  Error at(uint32_t line, const std::string& what) const {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", where_, line, what));
  }

  // [section]; or [[upstream]], as often as there are tiers.
  Status read_section(const std::string& section, const toml::node& node) {
    const toml::table* table = node.as_table();
    if (const toml::array* list = node.as_array();
        list != nullptr && section == "upstream" && list->is_array_of_tables()) {
      if (list->size() > kUpstreamsMax) {
        return at(list->get(kUpstreamsMax)->source().begin.line,
                  fmt::format("at most {} [[{}]] can be given", kUpstreamsMax, section));
      }
      HEDGE_TRY(read_table(section, *list->get(0)->as_table()));
      for (size_t i = 1; i < list->size(); ++i) HEDGE_TRY(read_more(section, *list->get(i)->as_table(), i));
      return {};
    }
    if (table == nullptr) {
      return at(node.source().begin.line, fmt::format("'{}' must be a table, [{}], got {}", section, section,
                                                      toml_type_name(node.type())));
    }
    return read_table(section, *table);
  }

  // Each tier is read in the place of the first, whose values and origins are put back.
  Status read_more(const std::string& section, const toml::table& table, size_t index) {
    const upstream::Options first = std::exchange(settings_.upstream, {});
    std::map<std::string, Origin> origins;
    origins.swap(settings_.origins);
    Status status = read_table(section, table);
    settings_.more_upstreams.push_back(std::exchange(settings_.upstream, first));
    origins.swap(settings_.origins);
    for (auto& [key, origin] : origins) {
      settings_.origins[upstream_section(index) + key.substr(section.size())] = std::move(origin);
    }
    return status;
  }

  Error unknown(const std::string& section, const toml::key& key) const {
    const std::string name(key.str());
    std::vector<std::string> candidates;
    for (const ConfigKey& k : kKeys) {
      if (section == k.section) candidates.emplace_back(k.name);
    }
    if (section == "policy") candidates.emplace_back("rules");
    std::string text = fmt::format("unknown key '{}' in [{}]", name, section);
    if (section.empty()) {
      for (const ConfigSection& s : kSections) candidates.emplace_back(s.name);
      candidates.emplace_back("tenants");
      text = fmt::format("unknown section or key '{}'", name);
    }
    if (const std::string near = nearest(name, candidates); !near.empty()) {
      text += fmt::format("; did you mean '{}'?", near);
    } else if (const std::string home = section_of(name); !home.empty()) {
      text += fmt::format("; there is one of that name in [{}]", home);
    } else {
      text += fmt::format("; known are {}", fmt::join(candidates, ", "));
    }
    return at(key.source().begin.line, text);
  }

  static std::string section_of(const std::string& name) {
    const auto found =
        std::find_if(std::begin(kKeys), std::end(kKeys), [&](const ConfigKey& k) { return name == k.name; });
    return found == std::end(kKeys) ? "" : found->section;
  }

  Error wrong_type(const ConfigKey& key, const char* expected, const toml::node& node) const {
    std::string got = fmt::format("{}", toml_type_name(node.type()));
    return at(node.source().begin.line,
              fmt::format("'{}' in [{}] must be {}, got {}", key.name, key.section, expected, got));
  }

  template <typename Number>
  Status set_number(const ConfigKey& key, const toml::node& node, double value, const std::string& shown,
                    Number& out) {
    if (!(value >= key.min && value <= key.max)) {  // NaN included
      return at(node.source().begin.line, fmt::format("'{}' in [{}] must be {:.15g} to {:.15g}, got {}",
                                                      key.name, key.section, key.min, key.max, shown));
    }
    out = static_cast<Number>(value);
    return {};
  }

  Status read_value(const ConfigKey& key, const toml::node& node) {
    settings_.origins[full_name(key)] = {fmt::format("{}:{}", where_, node.source().begin.line), false};
    return std::visit([&](auto* out) { return read_into(key, node, *out); }, key.field(settings_));
  }

  Status read_into(const ConfigKey& key, const toml::node& node, std::string& out) {
    const toml::value<std::string>* value = node.as_string();
    if (value == nullptr) return wrong_type(key, "a string", node);
    out = value->get();
    return {};
  }

  Status read_into(const ConfigKey& key, const toml::node& node, bool& out) {
    const toml::value<bool>* value = node.as_boolean();
    if (value == nullptr) return wrong_type(key, "true or false", node);
    out = value->get();
    return {};
  }

  Status read_into(const ConfigKey& key, const toml::node& node, double& out) {
    if (const auto* value = node.as_floating_point()) {
      return set_number(key, node, value->get(), fmt::format("{}", value->get()), out);
    }
    if (const auto* value = node.as_integer()) {
      return set_number(key, node, static_cast<double>(value->get()), std::to_string(value->get()), out);
    }
    return wrong_type(key, "a number", node);
  }

  // Whole numbers. All ranges of the table lie within 2^53, so comparing as double is exact.
  template <typename Integer>
  Status read_into(const ConfigKey& key, const toml::node& node, Integer& out) {
    const toml::value<int64_t>* value = node.as_integer();
    if (value == nullptr) return wrong_type(key, "an integer", node);
    return set_number(key, node, static_cast<double>(value->get()), std::to_string(value->get()), out);
  }

  const std::string_view where_;
  Settings& settings_;
};

std::string value_text(const Field& field) {
  return std::visit(
      [](const auto* value) -> std::string {
        using T = std::remove_cvref_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return toml_quoted(*value);
        } else if constexpr (std::is_same_v<T, double>) {
          const std::string text = fmt::format("{}", *value);
          return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
        } else {
          return fmt::format("{}", *value);
        }
      },
      field);
}

// A comment, wrapped to the width of the file.
std::string comment(std::string_view text) {
  constexpr size_t kWidth = 108;
  std::string out, line = "#";
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (line.size() + 1 + (end - begin) > kWidth) {
      out += line + "\n";
      line = "#";
    }
    line += " ";
    line += text.substr(begin, end - begin);
    begin = end + 1;
  }
  return out + line + "\n";
}

constexpr std::string_view kRulesHelp =
    "Rules, in order; the first whose condition surely holds says how a request is answered that the gates "
    "leave open. "
    "docs/routing.md lists the conditions and the strategies.";
constexpr std::string_view kRulesExample = R"(# [[policy.rules]]
# name = "factory night"
# when = {all = [{time = "22:00-06:00"}, {not = {network = "metered"}}]}
# use = "local-only"
)";
constexpr std::string_view kTenantsHelp =
    "Tenants: whoever has an API key of their own, with a budget and a strategy of their own.";
constexpr std::string_view kTenantsExample = R"(# [tenants.office]
# key_env = "OFFICE_KEY"
# upstream_tokens_per_day = 100000
# use = "cheapest-sufficient"
)";

}  // namespace

std::string upstream_section(size_t index) {
  return index == 0 ? "upstream" : fmt::format("upstream[{}]", index + 1);
}

std::span<const ConfigKey> config_keys() { return kKeys; }
std::span<const ConfigSection> config_sections() { return kSections; }

Status apply_config(std::string_view text, std::string_view where, Settings& settings) {
  const toml::parse_result parsed = toml::parse(text, where);
  if (!parsed) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}:{}: {}", where, parsed.error().source().begin.line, parsed.error().description()));
  }
  return Reader(where, settings).read_table("", parsed.table());
}

Status apply_config_file(const std::string& path, Settings& settings) {
  HEDGE_TRY_SET(const std::string text, os::read_file(path, kConfigBytesMax));
  return apply_config(text, path, settings);
}

Result<Settings> settings_from(const std::string& config_path, const std::string& data_dir) {
  Settings settings;
  if (!config_path.empty()) HEDGE_TRY(apply_config_file(config_path, settings));
  if (!data_dir.empty()) settings.data_dir = data_dir;
  return settings;
}

void note_flag(Settings& settings, const void* field, const std::string& flag) {
  for (const ConfigKey& key : kKeys) {
    const void* member = std::visit([](const void* value) { return value; }, key.field(settings));
    if (member == field) settings.origins[full_name(key)] = {flag, true};
  }
}

Error wrong_value(const Settings& settings, const std::string& section, const std::string& name,
                  std::string_view what) {
  const auto found = settings.origins.find(section + "." + name);
  const std::string key = fmt::format("'{}' in [{}]", name, section);
  std::string where = key;
  if (found != settings.origins.end())
    where = found->second.is_flag ? found->second.place : fmt::format("{}: {}", found->second.place, key);
  return make_error(ErrorCode::kInvalidArgument, fmt::format("{}: {}", where, what), name);
}

Error located(const Settings& settings, const std::string& section, Error error) {
  if (!settings.origins.contains(section + "." + error.field)) return error;
  std::string_view what = error.detail;
  if (const std::string prefix = error.field + ": "; what.starts_with(prefix))
    what.remove_prefix(prefix.size());
  error.detail = wrong_value(settings, section, error.field, what).detail;
  return error;
}

std::string config_text(const Settings& settings) {
  Settings given = settings;
  Settings defaults;
  std::string out = comment(
      "Configuration of `hedge serve --config FILE`. A line that begins with '#' shows a default; take the "
      "'#' away to change it. Flags of the command line override this file.");
  for (const ConfigSection& section : kSections) {
    const bool tiers = std::string_view(section.name) == "upstream" && !settings.more_upstreams.empty();
    out += "\n" + comment(section.help) +
           (tiers ? fmt::format("[[{}]]\n", section.name) : fmt::format("[{}]\n", section.name));
    for (const ConfigKey& key : kKeys) {
      if (std::string_view(key.section) != section.name) continue;
      const std::string value = value_text(key.field(given));
      const bool is_default = value == value_text(key.field(defaults));
      out += comment(key.help) + fmt::format("{}{} = {}\n", is_default ? "#" : "", key.name, value);
    }
    if (!tiers) continue;
    for (const upstream::Options& more : settings.more_upstreams) {
      out += fmt::format("[[{}]]\n", section.name);
      Settings one;
      one.upstream = more;
      for (const ConfigKey& key : kKeys) {
        if (std::string_view(key.section) != section.name) continue;
        const std::string value = value_text(key.field(one));
        if (value != value_text(key.field(defaults))) out += fmt::format("{} = {}\n", key.name, value);
      }
    }
  }
  out += "\n" + comment(kRulesHelp) + std::string(kRulesExample) + rules_text(given);
  out += "\n" + comment(kTenantsHelp) + std::string(kTenantsExample) + tenants_text(given);
  return out;
}

}  // namespace hedge::cli
