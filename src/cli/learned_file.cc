#include "cli/learned_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "os/file.h"

namespace hedge::cli {
namespace {

constexpr Milliseconds kLookEvery{1000};
constexpr size_t kCountedMax = 1024;

}  // namespace

Status LearnedFile::load_locked() {
  look_again_ = deadline_after(kLookEvery);
  const auto entry = os::file_entry(path_);
  const int64_t changed_ns = entry.ok() ? entry->changed_ns : -1;
  if (changed_ns == loaded_ns_) return {};
  loaded_ns_ = changed_ns;
  learned_.wipe();
  if (!entry.ok()) return {};
  HEDGE_TRY_SET(const std::string text, os::read_file(path_, kLearnedBytesMax));
  if (Status read = learned_.from_text(text); !read.ok()) {
    return make_error(read.error().code, fmt::format("{}: {}; remove it with `hedge route learned wipe`",
                                                     path_, read.error().detail));
  }
  return {};
}

Status LearnedFile::load() {
  std::lock_guard lock(mutex_);
  return load_locked();
}

double LearnedFile::bias(size_t kind, double bias_max) {
  if (bias_max <= 0) return 0;
  std::lock_guard lock(mutex_);
  // A damaged file was reported at the start; here it is no bias.
  if (SteadyClock::now() >= look_again_) (void)load_locked().ok();
  return learned_.bias(kind, bias_max);
}

Status LearnedFile::vote(const std::string& decision, size_t kind, double vote) {
  std::lock_guard lock(mutex_);
  HEDGE_TRY(load_locked());
  if (!decision.empty()) {
    if (std::find(counted_.begin(), counted_.end(), decision) != counted_.end()) return {};
    counted_.push_back(decision);
    if (counted_.size() > kCountedMax) counted_.pop_front();
  }
  learned_.vote(kind, vote);
  HEDGE_TRY(os::write_file_atomic(path_, learned_.to_text(), 0600));
  if (const auto entry = os::file_entry(path_); entry.ok()) loaded_ns_ = entry->changed_ns;
  return {};
}

}  // namespace hedge::cli
