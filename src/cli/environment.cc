#include "cli/environment.h"

#include <algorithm>
#include <ctime>
#include <memory>
#include <mutex>

#include "base/clock.h"
#include "cli/learned_file.h"
#include "os/file.h"
#include "route/prompt_score.h"

namespace hedge::cli {
namespace {

constexpr Milliseconds kSensorsFresh{250};

class Device {
 public:
  explicit Device(std::string metered) : metered_(std::move(metered)) {}

  route::DeviceFacts look() {
    route::DeviceFacts facts;
    {
      std::lock_guard lock(mutex_);
      if (SteadyClock::now() >= stale_at_) {
        facts_ = device_facts(os::read_sensors(), metered_);
        stale_at_ = deadline_after(kSensorsFresh);
      }
      facts = facts_;
    }
    const std::time_t now = std::time(nullptr);
    std::tm local = {};
    localtime_r(&now, &local);
    facts.minute_of_day = local.tm_hour * 60 + local.tm_min;
    facts.weekday = (local.tm_wday + 6) % 7;  // of C it is Sunday that is 0
    return facts;
  }

 private:
  const std::string metered_;
  std::mutex mutex_;
  Deadline stale_at_ = {};
  route::DeviceFacts facts_;
};

bool is_metered(const std::string& interface, const std::string& patterns) {
  for (size_t begin = 0; begin < patterns.size();) {
    const size_t end = std::min(patterns.find(',', begin), patterns.size());
    std::string_view pattern = std::string_view(patterns).substr(begin, end - begin);
    while (pattern.starts_with(' ')) pattern.remove_prefix(1);
    while (pattern.ends_with(' ')) pattern.remove_suffix(1);
    if (!pattern.empty() && route::matches_pattern(pattern, interface)) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

route::DeviceFacts device_facts(const os::Sensors& sensors, const std::string& metered_interfaces) {
  route::DeviceFacts facts;
  if (sensors.online) {
    facts.network = !*sensors.online                                          ? route::Network::kOffline
                    : is_metered(sensors.route_interface, metered_interfaces) ? route::Network::kMetered
                                                                              : route::Network::kUnmetered;
  }
  facts.on_battery = sensors.on_battery;
  facts.battery_percent = sensors.battery_percent;
  facts.temperature_c = sensors.temperature_c;
  return facts;
}

Result<route::PromptScore> read_prompt_score(const std::string& path) {
  if (path.empty()) return route::PromptScore(route::PromptScore::embedded());
  HEDGE_TRY_SET(const std::string bytes, os::read_file(path, route::kWeightsBytesMax));
  return route::PromptScore::parse(bytes);
}

route::Environment make_environment(const route::Policy& policy, LearnedFile* learned,
                                    const route::PromptScore* score) {
  route::Environment environment;
  environment.device = [device = std::make_shared<Device>(policy.metered_interfaces)] {
    return device->look();
  };
  environment.gain =
      [&weights = score != nullptr ? *score : route::PromptScore::embedded()](const chat::Request& request) {
        std::string_view text = request.prompt;
        for (const chat::Message& message : request.messages) {
          if (message.role == chat::Role::kUser) text = message.content;
        }
        return route::GainEstimate{weights.score(text), "prompt score"};
      };
  if (learned != nullptr && policy.bias_max > 0) {
    environment.bias = [learned, max = policy.bias_max](size_t kind) { return learned->bias(kind, max); };
    // A vote that cannot be kept is no reason to fail an answer.
    environment.learn = [learned](const std::string& decision, size_t kind, double vote) {
      (void)learned->vote(decision, kind, vote).ok();
    };
  }
  return environment;
}

}  // namespace hedge::cli
