#include "cli/config/check.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <spdlog/common.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <vector>

#include "api/way.h"
#include "cli/config/config.h"
#include "cli/environment.h"
#include "cli/probes.h"
#include "engine/speculation.h"
#include "model/kv_cache.h"
#include "os/file.h"
#include "upstream/endpoint.h"

namespace hedge::cli {
namespace {

constexpr size_t kKeyBytesMax = 4096;

Status check_log_level(const Settings& settings) {
  const std::string& name = settings.log_level;
  if (spdlog::level::from_str(name) != spdlog::level::off || name == "off") return {};
  return wrong_value(settings, "server", "log_level",
                     fmt::format("expected trace, debug, info, warn, error or off, got '{}'", name));
}

// What the engine would refuse as well, but only after the server has begun to listen.
Status check_engine(const Settings& settings) {
  const engine::Options& options = settings.engine;
  if (const auto type = model::parse_kv_type(options.kv_type); !type.ok())
    return wrong_value(settings, "model", "kv_type",
                       fmt::format("expected q8, q5 or f16, got '{}'", options.kv_type));
  if (const auto mode = engine::parse_speculate(options.speculation); !mode.ok())
    return wrong_value(settings, "model", "speculation",
                       fmt::format("expected auto or off, got '{}'", options.speculation));
  return {};
}

Status check_server_node(const Settings& settings) {
  if (settings.server.node.empty()) return {};
  const Status status = api::check_node(settings.server.node, "node");
  return status.ok() ? status : Status(located(settings, "server", status.error()));
}

Status check_host(const Settings& settings) {
  const std::string& host = settings.server.host;
  in6_addr v6 = {};
  const bool is_v6 = inet_pton(AF_INET6, host.c_str(), &v6) == 1 || host.starts_with('[');
  if (host.empty() || host.find_first_of("/ ") != std::string::npos ||
      (!is_v6 && host.find(':') != std::string::npos)) {
    return wrong_value(
        settings, "server", "host",
        fmt::format("expected an address or a name without scheme and port, like 127.0.0.1, ::1 or "
                    "localhost, got '{}' (the port is given by --port)",
                    host));
  }
  const bool open = settings.server.api_key.empty() && settings.server.tenants.empty();
  if (!is_loopback(host) && open && !settings.allow_anonymous) {
    return wrong_value(
        settings, "server", "host",
        fmt::format("{} can be reached from other machines; give --api-key KEY, or --allow-anonymous "
                    "if whoever reaches it may use it",
                    host));
  }
  return {};
}

Result<std::string> first_line_of(const std::string& path) {
  HEDGE_TRY_SET(const std::string text, os::read_file(path, kKeyBytesMax));
  const std::string line = text.substr(0, text.find_first_of("\r\n"));
  if (line.empty())
    return make_error(ErrorCode::kInvalidArgument, fmt::format("'{}' has an empty first line", path));
  return line;
}

Status check_variable(const Settings& settings, const char* section, const char* key,
                      const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  if (value != nullptr && *value != '\0') return {};
  return wrong_value(settings, section, key,
                     fmt::format("expected an environment variable that holds the API key; {} is {}",
                                 variable, value == nullptr ? "not set" : "empty"));
}

Result<std::string> key_of(const TenantKey& tenant) {
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("{}: {}", tenant.place, what));
  };
  if (tenant.key_env.empty()) {
    auto key = first_line_of(tenant.key_file);
    if (!key.ok()) return wrong(fmt::format("'key_file': {}", key.error().detail));
    return std::move(key).value();
  }
  const char* value = std::getenv(tenant.key_env.c_str());
  if (value != nullptr && *value != '\0') return std::string(value);
  return wrong(
      fmt::format("'key_env': expected an environment variable that holds the tenant's API key; {} is {}",
                  tenant.key_env, value == nullptr ? "not set" : "empty"));
}

Status find_tenant_keys(Settings& settings) {
  settings.server.tenants.clear();
  for (const TenantKey& tenant : settings.tenant_keys) {
    HEDGE_TRY_SET(std::string key, key_of(tenant));
    const auto same = [&](const server::TenantKey& other) { return other.key == key; };
    const auto& others = settings.server.tenants;
    const auto found = std::find_if(others.begin(), others.end(), same);
    if (found != others.end() || key == settings.server.api_key) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}: expected a key of its own, got the one of {}", tenant.place,
                                    found != others.end() ? "tenant " + found->name : "the server"));
    }
    settings.server.tenants.push_back({tenant.name, std::move(key)});
  }
  return {};
}

// The files of [policy.confidence], as far as they can be judged before a model is open.
Status check_confidence(const Settings& settings) {
  const route::Confidence& rule = settings.policy.confidence;
  const auto wrong = [&](const char* key, std::string_view what) {
    return wrong_value(settings, "policy.confidence", key, what);
  };
  std::optional<route::Probe> probe;
  if (rule.probe != "auto" && rule.probe != "off") {
    auto read = read_probe(rule.probe);
    if (!read.ok())
      return wrong("probe",
                   "expected auto, off or a file of `hedge route probe train`: " + read.error().detail);
    probe = std::move(read).value();
  }
  if (rule.thresholds.empty()) return {};
  if (rule.probe == "off")
    return wrong("thresholds", "there is no probe that they could belong to: 'probe' is off");
  if (const auto read = read_thresholds(rule.thresholds); !read.ok())
    return wrong("thresholds", read.error().detail);
  if (!probe) return {};
  const auto found = find_thresholds(rule.thresholds, *probe);
  return found.ok() ? Status() : Status(wrong("thresholds", found.error().detail));
}

Status check_prompt_score(const Settings& settings) {
  const std::string& path = settings.policy.prompt.weights;
  if (path.empty()) return {};
  const auto score = read_prompt_score(path);
  return score.ok() ? Status()
                    : Status(wrong_value(settings, "policy.prompt", "weights", score.error().detail));
}

Status check_upstream(const Settings& settings, const upstream::Options& up, const std::string& section) {
  // Segments name who wrote what: "local" is this device, "prompt" what was echoed.
  if (up.name.empty() || up.name == "local" || up.name == "prompt") {
    return wrong_value(settings, section, "name",
                       fmt::format("expected a name other than 'local' and 'prompt', which answers use for "
                                   "this device and for an echoed prompt; got '{}'",
                                   up.name));
  }
  if (const Status valid = upstream::check_options(up); !valid.ok())
    return located(settings, section, valid.error());
  if (up.base_url.empty()) {
    if (section != "upstream" || !settings.more_upstreams.empty()) {
      return wrong_value(settings, section, "base_url", "every [[upstream]] needs one");
    }
    if (up.model.empty()) return {};
    return wrong_value(settings, section, "model",
                       "the upstream has a model but no URL; give --upstream URL, or 'base_url'");
  }
  if (const auto url = upstream::normal_base_url(up.base_url, "base_url"); !url.ok())
    return located(settings, section, url.error());
  if (up.model.empty()) {
    return wrong_value(settings, section, "base_url",
                       "the upstream has no model; give --upstream-model NAME, or 'model'");
  }
  if (!up.key_env.empty()) HEDGE_TRY(check_variable(settings, section.c_str(), "key_env", up.key_env));
  if (const auto key = upstream::read_key(up.key_env, up.key_file); !key.ok())
    return wrong_value(settings, section, up.key_env.empty() ? "key_file" : "key_env", key.error().detail);
  return {};
}

Status check_upstreams(const Settings& settings) {
  HEDGE_TRY(check_upstream(settings, settings.upstream, "upstream"));
  std::vector<std::string> names = {settings.upstream.name};
  for (size_t i = 0; i < settings.more_upstreams.size(); ++i) {
    const upstream::Options& more = settings.more_upstreams[i];
    HEDGE_TRY(check_upstream(settings, more, upstream_section(i + 1)));
    if (std::find(names.begin(), names.end(), more.name) != names.end()) {
      return wrong_value(settings, upstream_section(i + 1), "name",
                         fmt::format("expected a name that no other upstream has, got '{}'", more.name));
    }
    names.push_back(more.name);
  }
  return {};
}

}  // namespace

Status check_privacy(const Settings& settings) {
  const privacy::Classes& classes = settings.policy.privacy.classes;
  for (size_t i = 0; i < privacy::kTypeCount; ++i) {
    if (const Status valid = privacy::check_type_word(classes.types[i]); !valid.ok())
      return wrong_value(settings, "privacy", std::string(privacy::kClassKeys[i]), valid.error().detail);
  }
  for (size_t i = 0; i < privacy::kFieldCount; ++i) {
    if (const Status valid = privacy::check_field_word(classes.fields[i]); !valid.ok())
      return wrong_value(settings, "privacy.fields", std::string(privacy::kFieldKeys[i]),
                         valid.error().detail);
  }
  return {};
}

Status check_policy(const Settings& settings) {
  HEDGE_TRY(check_privacy(settings));
  if (route::parse_strategy(settings.policy.use)) return {};
  return wrong_value(
      settings, "policy", "use",
      fmt::format("expected {}, got '{}'", fmt::join(route::strategy_names(), ", "), settings.policy.use));
}

Result<Settings> policy_from(const std::string& config_path, const std::string& data_dir) {
  HEDGE_TRY_SET(Settings settings, settings_from(config_path, data_dir));
  HEDGE_TRY(check_policy(settings));
  return settings;
}

// By the address itself: "127.example.com" is a name that may lead anywhere.
bool is_loopback(const std::string& host) {
  in_addr v4 = {};
  return host == "localhost" || host == "::1" || host == "[::1]" ||
         (inet_aton(host.c_str(), &v4) != 0 && (ntohl(v4.s_addr) >> 24) == 127);
}

Status find_api_key(Settings& settings) {
  if (!settings.server.api_key.empty()) return {};
  if (!settings.api_key_env.empty()) {
    HEDGE_TRY(check_variable(settings, "server", "api_key_env", settings.api_key_env));
    settings.server.api_key = std::getenv(settings.api_key_env.c_str());
  } else if (!settings.api_key_file.empty()) {
    auto key = first_line_of(settings.api_key_file);
    if (!key.ok()) return wrong_value(settings, "server", "api_key_file", key.error().detail);
    settings.server.api_key = std::move(key).value();
  }
  return {};
}

Status complete_and_check(Settings& settings) {
  HEDGE_TRY(check_log_level(settings));
  HEDGE_TRY(check_engine(settings));
  HEDGE_TRY(check_policy(settings));
  HEDGE_TRY(check_confidence(settings));
  HEDGE_TRY(check_prompt_score(settings));
  HEDGE_TRY(find_api_key(settings));
  HEDGE_TRY(find_tenant_keys(settings));
  HEDGE_TRY(check_host(settings));
  HEDGE_TRY(check_server_node(settings));
  return check_upstreams(settings);
}

Status check_model_named(const Settings& settings) {
  if (!settings.model.empty()) return {};
  return make_error(
      ErrorCode::kInvalidArgument,
      "no model; give -m MODEL (`hedge list` shows what is here, `hedge pull` what can be fetched)");
}

}  // namespace hedge::cli
