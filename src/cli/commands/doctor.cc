// hedge doctor: what this machine can do, and what stands in the way.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/kernel_level.h"
#include "cli/models/describe.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "kernels/dispatch.h"
#include "optimize/roofline.h"
#include "os/cpu.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

struct Options {
  int threads = 0;
  bool quick = false;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
Decode cannot be faster than memory can be read: bandwidth divided by the model's size is the most tokens
per second that one answer can have. Prefill is bound by arithmetic instead. Both are measured here, in
about a second; `hedge bench` shows how near a model comes.

HEDGE_ISA=scalar|avx2|avx512 forces other kernels than the best ones. The status is 1 when a finding stands
in the way.

Examples:
  hedge doctor
  hedge doctor --quick                  the machine and the models, at once
  hedge doctor --json | jq .troubles)";

struct Finding {
  bool good;
  std::string text;
};

std::vector<Finding> look_for_trouble(const ModelStore& store, const std::vector<ModelFile>& models) {
  std::vector<Finding> findings;
  if (models.empty()) findings.push_back({false, "no models yet; `hedge pull` lists what it can get"});
  const uint64_t available = os::memory_sizes().available_bytes;
  for (const ModelFile& m : models) {
    if (const auto file = gguf::File::open(m.path); !file.ok()) {
      findings.push_back({false, fmt::format("{}: {}", m.name, file.error().detail)});
    } else if (const Description d = describe(**file); !d.cannot_run.empty()) {
      findings.push_back({false, fmt::format("{}: {}", m.name, d.cannot_run)});
    } else if (available > 0 && m.bytes > available) {
      findings.push_back({false, fmt::format("{} is larger than the {} of memory that are available", m.name,
                                             human_bytes(available))});
    }
  }
  std::error_code failed;
  std::filesystem::create_directories(store.models_folder(), failed);
  if (failed || access(store.models_folder().c_str(), W_OK) != 0) {
    findings.push_back(
        {false, fmt::format("'{}' cannot be written; `hedge pull` will fail", store.models_folder())});
  }
  if (findings.empty()) findings.push_back({true, "nothing stands in the way"});
  return findings;
}

// The most tokens per second of one answer: every decoded token reads the whole file once.
double decode_limit(const optimize::Roofline& limits, uint64_t model_bytes) {
  return model_bytes == 0 ? 0 : limits.read_gb_per_second * 1e9 / static_cast<double>(model_bytes);
}

json to_json(const optimize::Roofline* limits, const std::vector<ModelFile>& models,
             const std::vector<Finding>& findings) {
  json levels = json::array();
  for (const kernels::Level& l : kernels::levels())
    levels.push_back({{"name", l.name}, {"usable", l.usable}});
  json list = json::array();
  for (const ModelFile& m : models) {
    json entry = {{"name", m.name}, {"bytes", m.bytes}};
    if (limits != nullptr) entry["decode_limit_tokens_per_second"] = decode_limit(*limits, m.bytes);
    list.push_back(std::move(entry));
  }
  json troubles = json::array();
  for (const Finding& f : findings) {
    if (!f.good) troubles.push_back(f.text);
  }
  const os::MemorySizes memory = os::memory_sizes();
  json out = {{"version", HEDGE_VERSION},
              {"cpu", os::cpu_brand()},
              {"cores", os::usable_cores()},
              {"kernel_levels", levels},
              {"memory_bytes", memory.machine_bytes},
              {"memory_available_bytes", memory.available_bytes},
              {"memory_group_bytes", memory.group_limit_bytes},
              {"models", list},
              {"troubles", troubles}};
  if (limits != nullptr) {
    out["limits"] = {{"threads", limits->threads},
                     {"isa", limits->isa},
                     {"read_gb_per_second", limits->read_gb_per_second},
                     {"read_gb_per_second_single", limits->read_gb_per_second_single},
                     {"int8_gop_per_second", limits->int8_gop_per_second},
                     {"f32_gflop_per_second", limits->f32_gflop_per_second}};
  }
  return out;
}

void print_machine() {
  fmt::print("machine\n");
  fmt::print("  cpu        {}\n", os::cpu_brand());
  fmt::print("  cores      {} usable by this process\n", os::usable_cores());
  std::string levels;
  for (const kernels::Level& l : kernels::levels()) {
    levels +=
        fmt::format("{}{}{}", levels.empty() ? "" : ", ", l.name, l.usable ? "" : " (not on this machine)");
  }
  fmt::print("  kernels    {}\n", levels);
  const os::MemorySizes memory = os::memory_sizes();
  fmt::print("  memory     {}, {} available\n", human_bytes(memory.machine_bytes),
             human_bytes(memory.available_bytes));
  if (memory.group_limit_bytes > 0)
    fmt::print("             limited to {} by its control group\n", human_bytes(memory.group_limit_bytes));
}

void print_limits(const optimize::Roofline& l) {
  fmt::print("\nlimits, measured with {} threads and {} kernels\n", l.threads, l.isa);
  fmt::print("  memory     {:.1f} GB/s read ({:.1f} by one thread)\n", l.read_gb_per_second,
             l.read_gb_per_second_single);
  fmt::print("  int8       {:.0f} Gop/s\n", l.int8_gop_per_second);
  fmt::print("  float32    {:.0f} Gflop/s\n", l.f32_gflop_per_second);
}

int run_doctor(const Options& options) {
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  if (const Status level = choose_kernel_level(); !level.ok()) return fail(level.error());
  const std::vector<ModelFile> models = store->list();
  const std::vector<Finding> findings = look_for_trouble(*store, models);
  std::optional<optimize::Roofline> limits;
  if (!options.quick)
    limits = optimize::measure_roofline(options.threads > 0 ? options.threads : os::usable_cores());
  const bool healthy = std::all_of(findings.begin(), findings.end(), [](const Finding& f) { return f.good; });
  if (options.as_json) {
    fmt::print("{}\n", to_json(limits ? &*limits : nullptr, models, findings)
                           .dump(2, ' ', false, json::error_handler_t::replace));
    return healthy ? kExitOk : kExitFailed;
  }
  print_machine();
  if (limits) print_limits(*limits);
  fmt::print("\nmodels\n{}", models.empty() ? "  none in " + printable(store->models_folder()) + "\n" : "");
  for (const ModelFile& m : models) {
    const std::string limit =
        limits ? fmt::format("   decode about {:.0f} tokens/s at most", decode_limit(*limits, m.bytes)) : "";
    fmt::print("  {:<32} {:>9}{}\n", printable(m.name), human_bytes(m.bytes), limit);
  }
  fmt::print("\nfindings\n");
  for (const Finding& f : findings) fmt::print("  {} {}\n", f.good ? "ok:" : "!! ", printable(f.text));
  return healthy ? kExitOk : kExitFailed;
}

}  // namespace

void add_doctor(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("doctor", "Examine this machine: kernels, limits, memory, models");
  command->footer(kFooter);
  command
      ->add_option("-t,--threads", options->threads,
                   "Threads that measure; 0: all cores this process may use")
      ->type_name("N")
      ->transform(in_range(0, 256))
      ->capture_default_str();
  command->add_flag("--quick", options->quick, "Measure nothing: no limits of memory and arithmetic");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_doctor(*options); }; });
}

}  // namespace hedge::cli
