// What was learned, as a file beside the session database: readable, exported and wiped while a server runs.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "route/learned.h"

namespace hedge::cli {

inline constexpr const char* kLearnedFile = "learned.tsv";
inline constexpr size_t kLearnedBytesMax = 1u << 16;  // 16 lines

// Thread-safe. A file that another process changed or removed counts from the next second on.
class LearnedFile {
 public:
  explicit LearnedFile(std::string path) : path_(std::move(path)) {}

  double bias(size_t kind, double bias_max);
  // Once per decision: a repeated vote about one of the last 1024 changes nothing. An empty id is always
  // counted.
  Status vote(const std::string& decision, size_t kind, double vote);
  // The error of a file that is there and damaged; nothing is learned from it.
  Status load();
  const route::Learned& learned() const { return learned_; }

 private:
  Status load_locked();

  const std::string path_;
  std::mutex mutex_;
  route::Learned learned_;
  int64_t loaded_ns_ = -1;  // the file's time of change; -1: none was there
  Deadline look_again_ = {};
  std::deque<std::string> counted_;
};

}  // namespace hedge::cli
